// How did it change over time? Columns or lines, by any dimension; a click opens that hour, day or month.
import { get } from "../api.js";
import { Chart, METRICS, shown, time_chart } from "../charts.js";
import { Choice, Select, Table, h, panel } from "../dom.js";
import { cost_of, count, day, without_price, zone_name } from "../format.js";
import { bounds_of, buckets_of, is_part, label_of, series_of, step_of, sums_by_time } from "../series.js";

const BY = { "": "nothing", model: "model", agent: "agent", chain: "chain", mode: "mode", provider: "provider", status: "status" };
const STEPS = { auto: "auto", hour: "hour", day: "day", week: "week", month: "month" };

export class TimePanel {
  constructor(page, title, { metric } = {}) {
    this.page = page;
    this.fixed = metric;
    this.metrics = new Choice("Number", METRICS, (value) => page.go({ metric: value }));
    this.by = new Select("by", BY, (value) => page.go({ by: value || "none" }));
    this.every = new Select("every", STEPS, (value) => page.go({ every: value }));
    this.kinds = new Choice("Kind of chart", { bar: "Bars", line: "Lines" }, (value) => page.go({ kind: value }));
    this.chart = new Chart(title, { height: "tall", click: (event) => this.zoom(event.dataIndex) });
    this.table = new Table(`${title}, as a table`, [
      { title: `Time (${zone_name()})`, text: (row) => row.label },
      { title: "Calls", number: true, text: (row) => count(row.calls) },
      { title: "Tokens", number: true, text: (row) => count(row.total_tokens) },
      { title: "Cost", money: cost_of, title_of: without_price, lacks: without_price, help: "* without the calls that have no price" },
    ], { className: "short" });
    const tools = h("div", { class: "tools" }, metric ? null : this.metrics.element, this.kinds.element, this.by.element, this.every.element);
    this.element = panel(title, { tools }, this.chart.element,
      h("details", {}, h("summary", {}, "Show as a table"), this.table.element));
  }

  async ask(filters, signal) {
    const state = this.page.state();
    this.step = Object.hasOwn(STEPS, state.every || "auto") && (state.every || "auto") !== "auto" ? state.every : step_of(filters, this.page.status().first_call_at);
    this.dimension = state.by === "none" ? "" : state.by && Object.hasOwn(BY, state.by) ? state.by : "model";
    this.filters = filters;
    const asked = { every: this.step, by: this.dimension || undefined };
    this.found = await get("timeline", filters, asked, signal);
  }

  show() {
    const state = this.page.state();
    this.metric = this.fixed || (Object.hasOwn(METRICS, state.metric) ? state.metric : "total_tokens");
    this.metrics.set(this.metric);
    this.by.set(this.dimension);
    this.every.set(Object.hasOwn(STEPS, state.every) ? state.every : "auto");
    const kind = state.kind === "line" ? "line" : "bar";
    this.kinds.set(kind);
    this.buckets = buckets_of(this.found.rows, this.step, this.filters);
    const series = series_of(this.found.rows, this.buckets, this.step, this.dimension, this.metric, kind);
    const label = (bucket) => label_of(bucket, this.step);
    const is_partial = this.buckets.map((bucket) => is_part(bucket, this.step, this.filters));
    const total = this.found.total;
    this.chart.set(time_chart({ buckets: this.buckets, series, metric: this.metric, kind, label, is_partial }),
      `${METRICS[this.metric]} by ${this.step}${this.dimension ? ` and ${this.dimension}` : ""}: ${shown(this.metric, total[this.metric])} in all, in ${this.buckets.length} steps`);
    this.table.fill(sums_by_time(this.found.rows, this.step).map((row) => ({ ...row, label: label(row.bucket) })).reverse());
  }

  /** Look at one step only; an hour is not looked into further. */
  zoom(index) {
    if (this.step === "hour" || !this.buckets[index]) return;
    const [start, end] = bounds_of(this.buckets[index], this.step);
    this.page.go({ range: "custom", from: day(start), to: day(end - 1), every: undefined });
  }

  close() {
    this.chart.close();
  }
}
