// How does a number look? The same everywhere, whatever the reader's locale; what is unknown is a dash, never 0.

export const UNKNOWN = "\u2014";
const THOUSANDS = /\B(?=(\d{3})+(?!\d))/g;

function grouped(text) {
  const [whole, part] = text.split(".");
  return whole.replace(THOUSANDS, ",") + (part === undefined ? "" : `.${part}`);
}

function isKnown(value) {
  return value !== null && value !== undefined && Number.isFinite(Number(value));
}

export function count(value, places = 0) {
  return isKnown(value) ? grouped(Number(value).toFixed(places)).replace("-", "\u2212") : UNKNOWN;
}

/** US dollars: cents from a dollar on, four digits that say something below. */
export function money(value) {
  if (!isKnown(value)) return UNKNOWN;
  const amount = Number(value);
  if (amount === 0) return "$0";
  const size = Math.abs(amount);
  const places = size >= 1 ? 2 : Math.min(12, 3 - Math.floor(Math.log10(size)));
  const text = size.toFixed(places).replace(/(\.\d{2,}?)0+$/, "$1");
  return `${amount < 0 ? "\u2212" : ""}$${grouped(text)}`;
}

/** How many digits the amounts of a table need, so that the largest and what is near it can be told apart. */
export function money_places(values) {
  const most = Math.max(0, ...values.filter(isKnown).map((value) => Math.abs(Number(value))));
  return most >= 1000 ? 2 : most >= 1 ? 4 : most >= 0.001 ? 6 : 8;
}

/** US dollars with so many digits; what is too small for them is said to be so. */
export function money_to(value, places) {
  if (!isKnown(value)) return UNKNOWN;
  const amount = Number(value);
  const least = 10 ** -places;
  if (amount > 0 && amount < least) return `<$${least.toFixed(places)}`;
  return `${amount < 0 ? "\u2212" : ""}$${grouped(Math.abs(amount).toFixed(places))}`;
}

/** What a row's calls cost, as far as that is known: not at all where only calls that cost nothing have a price. */
export function cost_of(row) {
  return Number(row.cost_usd) === 0 && row.unpriced_calls > 0 ? null : row.cost_usd;
}

/** What a cost does not cover. */
export function without_price(row) {
  return row.unpriced_calls ? `${plural(row.unpriced_calls, "call")} without a price` : "";
}

export function percent(value, places = 0) {
  if (!isKnown(value)) return UNKNOWN;
  const share = Number(value) * 100;
  return share > 0 && share < 1 && places === 0 ? "<1\u202f%" : `${grouped(share.toFixed(places))}\u202f%`;
}

/** For axes, where there is little room. */
export function short(value) {
  const size = Math.abs(value);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= limit) return `${Number((value / limit).toPrecision(3))}${unit}`;
  }
  return String(Number(Number(value).toPrecision(3)));
}

export function duration(milliseconds) {
  if (!isKnown(milliseconds)) return UNKNOWN;
  const value = Number(milliseconds);
  if (value > 0 && value < 1) return "<1 ms";
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 120_000) return `${(value / 1000).toFixed(1)} s`;
  if (value < 7_200_000) return `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`;
  return `${(value / 3_600_000).toFixed(1)} h`;
}

// Times are those of one zone: UTC, or the one that the address names.
const UTC = "UTC";
const PARTS = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const RENAMED = {
  "Etc/UTC": UTC, "Etc/GMT": UTC, "Asia/Calcutta": "Asia/Kolkata", "Asia/Katmandu": "Asia/Kathmandu",
  "Asia/Rangoon": "Asia/Yangon", "Asia/Saigon": "Asia/Ho_Chi_Minh", "Europe/Kiev": "Europe/Kyiv",
  "America/Buenos_Aires": "America/Argentina/Buenos_Aires", "America/Godthab": "America/Nuuk", "Atlantic/Faeroe": "Atlantic/Faroe",
};
let zone = UTC;
let clock = clock_of(UTC);

function clock_of(name) {
  return new Intl.DateTimeFormat("en-GB", { ...PARTS, timeZone: name });
}

let ahead = 0;

/** What time it is for the server; the clock of the browser may be wrong. */
export function set_clock(text) {
  ahead = Date.parse(text) - Date.now();
}

export function now() {
  return Date.now() + ahead;
}

/** The browser's own zone, as it is called today: servers may not know the names of old that browsers say. */
export function own_zone() {
  const said = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  return is_zone(said) ? RENAMED[said] || said : UTC;
}

/** Whether a zone has this name; browsers take a bare offset for one, too, which is none. */
export function is_zone(name) {
  try {
    return /^[A-Za-z]/.test(name || "") && Boolean(clock_of(name));
  } catch {
    return false;
  }
}

/** Show times in a zone from here on; none is UTC. */
export function set_zone(name) {
  zone = name || UTC;
  clock = clock_of(zone);
}

export function zone_name() {
  return zone;
}

/** What clocks of the zone show, as if it were UTC: in milliseconds. */
function shown_at(at) {
  const { year, month, day: date, hour, minute, second } = Object.fromEntries(clock.formatToParts(at).map((part) => [part.type, Number(part.value)]));
  return Date.UTC(year, month - 1, date, hour, minute, second);
}

/** How far the zone's clocks are ahead of UTC at a moment, in milliseconds. */
export function offset_at(at) {
  return zone === UTC ? 0 : shown_at(at) - Math.floor(at / 1000) * 1000;
}

/** When clocks of the zone show this, which is said as if it were UTC. */
export function moment_at(shown) {
  const guess = shown - offset_at(shown);
  return shown - offset_at(guess);
}

/** A moment in the zone, to the second. */
export function moment(text) {
  return text ? local(text).toISOString().replace("T", " ").slice(0, 19) : UNKNOWN;
}

/** The day of a moment in the zone. */
export function local_day(text) {
  return text ? local(text).toISOString().slice(0, 10) : UNKNOWN;
}

function local(text) {
  const at = new Date(text).getTime();
  return new Date(at + offset_at(at));
}

/** The day of a date that is no moment: of calendars. */
export function day(text) {
  return text ? new Date(text).toISOString().slice(0, 10) : UNKNOWN;
}

/** A name as it is shown, a missing one as the filters call it. */
export function name(value, dimension) {
  if (value === null || value === undefined) return dimension === "chain" ? "(unattributed)" : "(none)";
  return String(value) === "" ? "(empty)" : String(value);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${Number(number) === 1 ? one : many}`;
}

export function change(now, before) {
  if (!isKnown(now) || !isKnown(before) || Number(before) === 0) return null;
  const share = Number(now) / Number(before) - 1;
  const sign = share > 0.0005 ? "\u25b2" : share < -0.0005 ? "\u25bc" : "=";
  return `${sign} ${(Math.abs(share) * 100).toFixed(Math.abs(share) < 0.1 ? 1 : 0)}\u202f%`;
}
