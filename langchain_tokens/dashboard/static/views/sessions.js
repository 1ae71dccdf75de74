// Which conversations were there? When, by which agents, and what they used; a row opens its runs.
import { get } from "../api.js";
import { Select, Table, h, panel } from "../dom.js";
import { UNKNOWN, cost_of, count, duration, moment, name, without_price, zone_name } from "../format.js";

const MOST = 100;
const ORDERS = {
  last_call_at: "newest first", cost_usd: "dearest first", total_tokens: "most tokens first", calls: "most calls first",
  duration_ms: "most time in calls first",
};

/** From the start of its first call to that of its last. */
const lasted = (row) => (row.first_call_at === null || row.last_call_at === null ? null : Date.parse(row.last_call_at) - Date.parse(row.first_call_at));
const agents = (row) => (row.agents && row.agents.length ? row.agents.join(", ") : UNKNOWN);

export function make(page) {
  const orders = new Select("order", ORDERS, (value) => page.go({ order: value }));
  const table = new Table("Sessions", [
    { title: "Session", text: (row) => name(row.session), className: "names" },
    { title: `Last call (${zone_name()})`, text: (row) => moment(row.last_call_at) },
    { title: "First call", text: (row) => moment(row.first_call_at) },
    { title: "Lasted", number: true, text: (row) => duration(lasted(row)) },
    { title: "Calls", number: true, text: (row) => count(row.calls) },
    { title: "Failed", number: true, text: (row) => count(row.failed_calls) },
    { title: "Tokens", number: true, text: (row) => count(row.total_tokens) },
    { title: "Cost", money: cost_of, title_of: without_price, lacks: without_price, help: "* without the calls that have no price" },
    { title: "Agents", text: agents, title_of: agents, className: "names" },
  ], { open: (row) => page.drill("session", row.session, { view: "runs" }), empty: "No session has such a call in this range." });
  const left_out = h("p", { class: "hint", hidden: true }, `The first ${MOST}.`);

  async function load(filters, signal) {
    const order = Object.hasOwn(ORDERS, page.state().order) ? page.state().order : "last_call_at";
    orders.set(order);
    const found = await get("sessions", filters, { order, limit: MOST, details: true }, signal);
    table.fill(found.rows);
    left_out.hidden = found.rows.length < MOST;
  }

  const element = h("div", { class: "view" }, panel("Sessions", { tools: h("div", { class: "tools" }, orders.element) },
    h("p", { class: "hint" }, "Calls under one name, such as a conversation's. Times and sums are of the calls that match."), table.element, left_out));
  return { element, load, close: () => {} };
}
