// How much is left? Each budget's accounts with what is spent, reserved and left, and when it will be reached.
import { get } from "../api.js";
import { Table, h, panel, setText } from "../dom.js";
import { count, moment, money, percent, zone_name } from "../format.js";

const shown = (row, value) => (row.unit === "usd" ? money(value) : count(value));
const state_of = (row) => (row.is_exceeded ? "over" : row.share >= 0.8 ? "warning" : "");

export function make() {
  const table = new Table("Budgets", [
    { title: "Budget", text: (row) => row.budget, className: "names", title_of: (row) => row.budget },
    { title: "Of", text: (row) => row.label, className: "names", title_of: (row) => row.label },
    { title: "Used", node: meter },
    { title: "Spent", number: true, text: (row) => shown(row, row.spent) },
    { title: "Limit", number: true, text: (row) => `${shown(row, row.limit)}${row.unit === "usd" ? "" : ` ${row.unit}`}` },
    { title: "Reserved", number: true, text: (row) => shown(row, row.reserved) },
    { title: "Left", number: true, text: (row) => shown(row, row.left), state: state_of },
    { title: "At this rate", number: true, text: (row) => shown(row, row.projected), title_of: () => "At the end of its period, at the rate since its begin; no forecast" },
    { title: `Reached (${zone_name()})`, text: (row) => (row.is_exceeded ? "reached" : moment(row.reached_at)), state: state_of },
    { title: "Not counted", number: true, text: (row) => count(row.uncovered_calls), title_of: () => "Calls without a price, or without usage" },
    { title: "Stopped", number: true, text: (row) => count(row.stopped_calls) },
    { title: "Action", text: (row) => row.action },
  ], { empty: "" });
  const start = h("div", { hidden: true },
    h("p", {}, "There are no budgets. A TOML file that LANGCHAIN_TOKENS_BUDGETS names has one table for each:"),
    h("pre", {}, '[[budget]]\nlimit_usd = "5.00"\nper = ["user", "day"]\naction = "stop"'));
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Budgets"),
    panel("Budgets", {}, h("p", { class: "hint" }, "What their calls add up to now; range and filters above do not matter here."), table.element, start));

  async function load(_, signal) {
    const found = await get("budgets", {}, { limit: 50 }, signal);
    table.fill(found.budgets);
    table.element.hidden = found.budgets.length === 0;
    start.hidden = found.budgets.length > 0;
  }

  return { element, load, close: () => {} };
}

function meter(row, cell) {
  let text = cell.firstChild;
  if (!text) {
    text = h("span", {});
    cell.append(text, h("div", { class: "meter", "aria-hidden": "true" }, h("span", {})));
  }
  setText(text, percent(row.share));
  cell.lastChild.dataset.state = state_of(row);
  cell.lastChild.firstChild.style.setProperty("--part", `${Math.min(100, row.share * 100)}%`);
}
