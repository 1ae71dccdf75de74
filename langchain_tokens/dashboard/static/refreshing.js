// When are the numbers asked for again? As soon as the server tells of a change, but not all the time where answers take
// long, and not unseen.

const WHOLE = 60_000;
const LONG = 1_000;
const LEAST_WAIT = 1_000;
const MOST_WAIT = 8_000;

/** Asks again and again; `ask(signal)` says whether an answer came, and never fails. */
export class Refreshing {
  constructor(ask) {
    this.ask = ask;
    this.running = null;
    this.is_stale = false;
    this.since = 0;
    this.pause = 0;
    this.wait = LEAST_WAIT;
    document.addEventListener("visibilitychange", () => this._soon());
    setInterval(() => this.mark(), WHOLE);
  }

  /** Ask now, and give up what was asked for before. */
  async now() {
    this.stop();
    const mine = new AbortController();
    this.running = mine;
    this.is_stale = false;
    this.since = performance.now();
    const has_come = await this.ask(mine.signal);
    if (this.running !== mine) return;
    this.running = null;
    const took = performance.now() - this.since;
    this.pause = has_come ? (took > LONG ? 2 * took : 0) : this.wait;
    this.wait = has_come ? LEAST_WAIT : Math.min(this.wait * 2, MOST_WAIT);
    if (has_come) this._soon();
    else this.mark();
  }

  /** What is on the screen is out of date. Where answers are slow, asking takes half of the time at most. */
  mark() {
    this.is_stale = true;
    this._soon();
  }

  /** Give up what is asked for, and what was to be asked. */
  stop() {
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
  }

  _soon() {
    if (!this.is_stale || this.running || document.hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (!document.hidden) this.now();
    }, Math.max(0, this.since + this.pause - performance.now()));
  }
}
