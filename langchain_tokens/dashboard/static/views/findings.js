// What was in vain, what could be saved, and what was unusual? Looked for when it is asked, and not with every call.
import { Problem, get } from "../api.js";
import { Card, Table, h, panel, replace, setText } from "../dom.js";
import { count, money, name, percent, plural } from "../format.js";

const FRESH = 30_000;
const where = (row) => [row.chain, row.agent, row.model].filter((each) => each !== null).join(" \u00b7 ") || "(unattributed)";

export function make(page) {
  const cards = {
    usd: new Card("In vain", "Failed, cancelled, repeated and unusable calls, each counted once"),
    tokens: new Card("Tokens in vain"),
    calls: new Card("Calls in vain"),
    share: new Card("Of the cost"),
  };
  const columns = [
    { title: "Finding", text: (row) => `${plural(row.calls, "call")} ${row.what}${row.is_estimate ? " (estimated)" : ""}`, className: "text" },
    { title: "Tokens", number: true, text: (row) => count(row.tokens) },
    { title: "US dollars", money: (row) => row.usd, title_of: (row) => (row.unpriced_calls ? `${plural(row.unpriced_calls, "call")} without a price` : "") },
    { title: "Where", text: where, className: "names", title_of: where },
    { title: "What mends it", text: (row) => row.remedy, className: "text" },
  ];
  const open = (row) => page.go({
    view: "explore", filters: Object.fromEntries(["chain", "agent", "model"].map((key) => [key, [name(row[key], key)]])),
  });
  const waste = new Table("In vain", columns, { open, empty: "Nothing was in vain in this range.", className: "long" });
  const chances = new Table("Could be saved", columns, { open, empty: "Nothing was found in this range.", className: "long" });
  const unusual = h("ul", { class: "list" });
  const notes = h("p", { class: "hint" });
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Findings"),
    h("div", { class: "cards" }, Object.values(cards).map((card) => card.element)),
    panel("In vain", {}, waste.element),
    panel("Could be saved", {}, h("p", { class: "hint" }, "Other views of calls that may be in the list above, too; not to be added to it."), chances.element),
    panel("Unusual days", {}, unusual, notes));
  let asked = "";
  let at = 0;

  async function load(filters, signal) {
    const question = JSON.stringify([page.state().range, page.state().from, page.state().to, page.state().tz, page.state().filters]);
    if (question === asked && performance.now() - at < FRESH) return;
    const [found, days] = await Promise.all([get("findings", filters, {}, signal), unusual_days(filters, signal)]);
    asked = question;
    at = performance.now();
    const { total_wasted: wasted } = found;
    cards.usd.set(money(wasted.usd), [wasted.unpriced_calls ? `${plural(wasted.unpriced_calls, "call")} without a price` : ""], { warn: wasted.unpriced_calls > 0 });
    cards.tokens.set(count(wasted.tokens), []);
    cards.calls.set(count(wasted.calls), [`of ${count(found.calls)}`]);
    cards.share.set(percent(found.cost_usd && wasted.usd !== null && Number(found.cost_usd) > 0 ? wasted.usd / found.cost_usd : null, 1), [`of ${money(found.cost_usd)}`]);
    waste.fill(found.findings.filter((row) => row.is_waste));
    chances.fill(found.findings.filter((row) => !row.is_waste));
    replace(unusual, days.findings.map((row) => h("li", {}, row.text)));
    setText(notes, days.findings.length ? days.notes.join(" ") : ["Nothing was unusual.", ...days.notes].join(" "));
  }

  /** Without the extra that it needs, the page says which that is. */
  async function unusual_days(filters, signal) {
    try {
      return await get("unusual", filters, {}, signal);
    } catch (error) {
      if (error instanceof Problem && [422, 501].includes(error.status)) return { findings: [], notes: [error.message] };
      throw error;
    }
  }

  return { element, load, close: () => {} };
}
