// What does the address say? Page, range, filters, and the choices of the page; and how is that written?
import { FILTERS } from "./api.js";
import { day, is_zone } from "./format.js";

export const RANGES = { current: "Current", "7d": "7 days", "30d": "30 days", all: "All", custom: "Custom\u2026" };
export const PAGES = {
  overview: "Overview", explore: "Explore", models: "Models", cost: "Cost", runs: "Runs", sessions: "Sessions",
  budgets: "Budgets", findings: "Findings", data: "Data",
};
/** What belongs to one page only, and is left behind with it. */
export const OWN = ["by", "metric", "order", "call", "kind", "every", "tree", "id"];
const DEFAULTS = { view: "overview", range: "7d" };

/** What is asked for; what the address says wrongly is left out. */
export function read_address() {
  const asked = new URLSearchParams(location.search);
  const filters = Object.fromEntries(
    FILTERS.map((key) => [key, asked.getAll(key)]).filter(([, values]) => values.length > 0));
  const own = Object.fromEntries(OWN.filter((key) => asked.has(key)).map((key) => [key, asked.get(key)]));
  const range = asked.get("range");
  return {
    ...DEFAULTS,
    ...own,
    view: Object.hasOwn(PAGES, asked.get("view")) ? asked.get("view") : DEFAULTS.view,
    range: Object.hasOwn(RANGES, range) ? range : DEFAULTS.range,
    from: date_or_nothing(asked.get("from")),
    to: date_or_nothing(asked.get("to")),
    tz: asked.get("tz") !== "UTC" && is_zone(asked.get("tz")) ? asked.get("tz") : undefined,
    filters,
  };
}

/** A day of the calendar; browsers take the 30th of February for one of March. */
function date_or_nothing(text) {
  const at = /^\d{4}-\d\d-\d\d$/.test(text || "") && text >= "0001" ? Date.parse(text) : NaN;
  return !Number.isNaN(at) && day(at) === text ? text : undefined;
}

/** The address of a state, without what goes without saying. */
export function write_address(next) {
  const asked = new URLSearchParams();
  const { filters, ...rest } = next;
  for (const [key, value] of Object.entries(rest)) {
    if (value !== undefined && value !== null && value !== DEFAULTS[key]) asked.set(key, value);
  }
  for (const [key, values] of Object.entries(filters)) values.forEach((value) => asked.append(key, value));
  const text = asked.toString();
  return text ? `?${text}` : location.pathname;
}
