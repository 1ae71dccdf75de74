// Where exactly? One dimension at a time, as a table, a ring, or rings within rings; then the calls themselves.
import { get } from "../api.js";
import { Chart, METRICS, OTHERS, pie_chart, shown, tree_chart } from "../charts.js";
import { call_columns } from "../details.js";
import { Choice, Select, Table, h, panel, setText } from "../dom.js";
import { cost_of, count, duration, money, percent, plural, without_price } from "../format.js";
import { ranked, slices, tree_of } from "../series.js";
import { TITLES, name_cell } from "./breakdown.js";
import { end_of_list, more_of, pages } from "./paging.js";
import { roots_of } from "./runs.js";

const DIMENSIONS = Object.keys(TITLES);
const ORDER = ["agent", "chain", "model"];
const MOST = 500;
const ORDERS = {
  "-started_at": "newest first", started_at: "oldest first", "-cost_usd": "dearest first", "-total_tokens": "most tokens first",
  "-duration_ms": "slowest first",
};

export function make(page) {
  const by = new Select("by", {}, (value) => page.go({ by: value }));
  const metrics = new Choice("Number", METRICS, (value) => page.go({ metric: value }));
  const kinds = new Choice("Kind of chart", { pie: "Pie", sunburst: "Sunburst", treemap: "Treemap", paths: "Paths" }, (value) => page.go({ kind: value }));
  const chart = new Chart("Parts", { height: "round", click: (event) => pick_part(event) });
  let dimension = "agent";
  let table = null;
  let names = null;
  const place = h("div");
  const left_out = h("p", { class: "hint", hidden: true }, `The largest ${MOST}; the total is of all.`);
  const list = panel("Breakdown", { tools: h("div", { class: "tools" }, by.element, metrics.element) }, place, left_out);
  const parts = panel("Parts", { tools: h("div", { class: "tools" }, kinds.element) }, chart.element);
  const calls = new Calls(page);
  const summary = h("p", { class: "summary" });
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Explore"), summary,
    h("div", { class: "grid uneven" }, list, parts), calls.element);

  function pick_part(event) {
    if (page.state().kind === "paths") return;
    const path = (event.treePathInfo || []).slice(1);
    if (path[0]?.name === OTHERS) return;
    if (path.length) return page.go({ filters: Object.fromEntries(path.map((each, index) => [ORDER[index], [each.name]])) });
    if (event.name !== OTHERS) page.drill(dimension, event.data.key ?? null);
  }

  function table_of(wanted) {
    if (table && table.dimension === wanted) return table;
    table = new Table("Breakdown", [
      { title: wanted, node: name_cell(wanted, (value) => page.drill(wanted, value)), className: "names" },
      { title: "Tokens", number: true, text: (row) => count(row.total_tokens) },
      { title: "Share", number: true, text: (row) => percent(row.share) },
      { title: "Cost", money: cost_of, title_of: without_price, lacks: without_price, help: "* without the calls that have no price" },
      { title: "Calls", number: true, text: (row) => count(row.calls) },
      { title: "Failed", number: true, text: (row) => count(row.failed_calls) },
      { title: "Input", number: true, text: (row) => count(row.input_tokens) },
      { title: "Output", number: true, text: (row) => count(row.output_tokens) },
      { title: "Mean time", number: true, text: (row) => duration(row.means.duration_ms) },
    ], { empty: "No calls match.", className: "long" });
    table.dimension = wanted;
    place.replaceChildren(table.element);
    return table;
  }

  /** The names that can be asked by; asked for once, not with every change. */
  function offered() {
    names ??= get("dimensions").catch((error) => {
      names = null;
      throw error;
    });
    return names;
  }

  async function load(filters, signal) {
    const state = page.state();
    const metric = Object.hasOwn(METRICS, state.metric) ? state.metric : "total_tokens";
    const kind = ["sunburst", "treemap", "paths"].includes(state.kind) ? state.kind : "pie";
    dimension = state.by && (DIMENSIONS.includes(state.by) || state.by.startsWith("tag:")) ? state.by : next_dimension(state.filters);
    const [found, { tags }, nested] = await Promise.all([
      get("breakdown", filters, { by: dimension, limit: MOST, means: true }, signal),
      offered(),
      kind === "pie" ? null : kind === "paths" ? get("profile", filters, {}, signal) : get("breakdown", filters, { by: ORDER, limit: MOST }, signal),
      calls.load(filters, signal),
    ]);
    by.options(Object.fromEntries([...new Set([...DIMENSIONS, ...Object.keys(tags).map((key) => `tag:${key}`), dimension])].map((key) => [key, key])));
    by.set(dimension);
    metrics.set(metric);
    kinds.set(kind);
    const total = found.total;
    setText(summary, `${plural(total.calls, "call")} \u00b7 ${count(total.total_tokens)} tokens \u00b7 ${money(cost_of(total))}`);
    table_of(dimension).fill(ranked(found.rows, metric), { ...total, [dimension]: "total", share: total.total_tokens ? 1 : null });
    left_out.hidden = found.rows.length < MOST;
    if (kind === "pie") {
      chart.set(pie_chart({ parts: slices(found.rows, dimension, metric, total), metric }), `${METRICS[metric]} by ${dimension}: ${shown(metric, total[metric])} in all`);
    } else if (kind === "paths") {
      chart.set(tree_chart({ roots: roots_of(nested, metric), metric, kind: "sunburst" }), `${METRICS[metric]} along the paths of calls`);
    } else {
      chart.set(tree_chart({ roots: tree_of(nested.rows, ORDER, metric, nested.total), metric, kind }), `${METRICS[metric]} by ${ORDER.join(", then ")}`);
    }
  }

  return { element, load, close: () => chart.close() };
}

/** Agents first, then their chains, then the models: the first of them that is not narrowed to one name yet. */
function next_dimension(filters) {
  return ORDER.find((key) => !filters[key] || filters[key].length > 1) || "model";
}

/** Calls, some more of them with each click. */
export class Calls {
  constructor(page, title = "Calls") {
    this.page = page;
    this.extra = 0;
    this.order = new Select("order", ORDERS, (value) => page.go({ order: value }));
    this.table = new Table(title, call_columns(), { open: (call) => page.go({ call: call.call_id }), empty: "No calls match." });
    this.more = h("button", { type: "button", onclick: () => this.next() }, "Load more");
    this.end = end_of_list();
    this.element = panel(title, { tools: this.order.element }, this.table.element, this.more, this.end);
  }

  /** All that is shown again; what was added stays while the question is the same. */
  async load(filters, signal) {
    const order = Object.hasOwn(ORDERS, this.page.state().order) ? this.page.state().order : "-started_at";
    this.order.set(order);
    const asked = JSON.stringify([this.page.state().filters, this.page.state().range, order]);
    if (asked !== this.asked) this.extra = 0;
    this.asked = asked;
    const found = await get("calls", filters, { limit: pages(this.extra), order }, signal);
    this.table.fill(found.calls);
    more_of(this.more, this.end, found.calls.length, found.next);
  }

  next() {
    this.extra += 1;
    return this.page.refresh();
  }
}
