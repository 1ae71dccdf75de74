// How did it change over time? Columns or lines, by any dimension; a click opens that hour, day or month.
import { get } from "../api.js";
import { Chart, METRICS, OTHERS, colours, shown, time_chart } from "../charts.js";
import { Choice, Select, Table, h, panel } from "../dom.js";
import { count, day, name } from "../format.js";

const BY = { "": "nothing", model: "model", agent: "agent", chain: "chain", mode: "mode", provider: "provider", status: "status" };
const STEPS = { auto: "auto", hour: "hour", day: "day", month: "month" };
const DAY = 86_400_000;
const MOST_SERIES = 7;
const MOST_BUCKETS = 800;

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
      { title: "Time (UTC)", text: (row) => row.label },
      { title: "Calls", number: true, text: (row) => count(row.calls) },
      { title: "Tokens", number: true, text: (row) => count(row.total_tokens) },
      { title: "Cost", money: (row) => row.cost_usd },
    ], { className: "short" });
    const tools = h("div", { class: "tools" }, metric ? null : this.metrics.element, this.kinds.element, this.by.element, this.every.element);
    this.element = panel(title, { tools }, this.chart.element,
      h("details", {}, h("summary", {}, "Show as a table"), this.table.element));
  }

  async ask(filters, signal) {
    const state = this.page.state();
    this.step = STEPS[state.every] && state.every !== "auto" ? state.every : step_of(filters, this.page.status());
    this.dimension = state.by === "none" ? "" : state.by && state.by in BY ? state.by : "model";
    this.filters = filters;
    const asked = { every: this.step, by: this.dimension || undefined };
    this.found = await get("timeline", filters, asked, signal);
  }

  show() {
    const state = this.page.state();
    this.metric = this.fixed || (state.metric in METRICS ? state.metric : "total_tokens");
    this.metrics.set(this.metric);
    this.by.set(this.dimension);
    this.every.set(state.every in STEPS ? state.every : "auto");
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
    const start = Date.parse(this.step === "month" ? `${this.buckets[index]}-01` : this.buckets[index]);
    const end = this.step === "month" ? Date.UTC(new Date(start).getUTCFullYear(), new Date(start).getUTCMonth() + 1, 0) : start;
    this.page.go({ range: "custom", from: day(start), to: day(end), every: undefined });
  }

  close() {
    this.chart.close();
  }
}

function span_of(filters, status) {
  const now = Date.now();
  const found = /^(\d+)d$/.exec(filters.since || "");
  if (found) return Number(found[1]) * DAY;
  const from = filters.since || status.first_call_at;
  return from ? (filters.until ? Date.parse(filters.until) : now) - Date.parse(from) : DAY;
}

function step_of(filters, status) {
  const days = span_of(filters, status) / DAY;
  return days <= 3 ? "hour" : days <= 186 ? "day" : "month";
}

/** All steps from the first to the last, those without calls too. */
function buckets_of(rows, step, filters) {
  const known = [...new Set(rows.map((row) => row[step]))].sort();
  if (known.length === 0) return [];
  const found = [];
  const end = known.at(-1);
  let at = known[0];
  const days = /^(\d+)d$/.exec(filters.since || "");
  if (step === "day" && days) at = min(at, day(Date.now() - Number(days[1]) * DAY));
  while (at <= end && found.length < MOST_BUCKETS) {
    found.push(at);
    at = after(at, step);
  }
  return at > end ? found : known;
}

const min = (one, other) => (one < other ? one : other);

function after(bucket, step) {
  if (step === "hour") return `${new Date(Date.parse(bucket) + 3_600_000).toISOString().slice(0, 13)}:00Z`;
  if (step === "day") return day(Date.parse(bucket) + DAY);
  const [year, month] = bucket.split("-").map(Number);
  return month === 12 ? `${year + 1}-01` : `${year}-${String(month + 1).padStart(2, "0")}`;
}

/** Whether a step has not ended, or began before the range did. */
function is_part(bucket, step, filters) {
  const start = Date.parse(step === "month" ? `${bucket}-01` : bucket);
  const end = Date.parse(step === "month" ? `${after(bucket, step)}-01` : after(bucket, step));
  const days = /^(\d+)d$/.exec(filters.since || "");
  const since = days ? Date.now() - Number(days[1]) * DAY : filters.since ? Date.parse(filters.since) : 0;
  const until = filters.until ? Math.min(Date.parse(filters.until), Date.now()) : Date.now();
  return start < since || end > until;
}

function label_of(bucket, step) {
  return step === "hour" ? `${bucket.slice(5, 10)} ${bucket.slice(11, 16)}` : bucket;
}

/** The largest names each for itself, the rest together; a step without calls has no value. */
function series_of(rows, buckets, step, dimension, metric, kind) {
  const places = new Map(buckets.map((bucket, index) => [bucket, index]));
  const sums = new Map();
  for (const row of rows) {
    const key = dimension ? name(row[dimension], dimension) : METRICS[metric];
    sums.set(key, (sums.get(key) || 0) + Number(row[metric] || 0));
  }
  const order = [...sums].sort((one, other) => other[1] - one[1]).map(([key]) => key);
  const own = new Set(order.slice(0, order.length > MOST_SERIES + 1 ? MOST_SERIES : order.length));
  const names = order.length > own.size ? [...own, OTHERS] : [...own];
  const values = new Map(names.map((key) => [key, buckets.map(() => (kind === "line" ? 0 : null))]));
  for (const row of rows) {
    const key = dimension ? name(row[dimension], dimension) : METRICS[metric];
    const line = values.get(own.has(key) ? key : OTHERS);
    const place = places.get(row[step]);
    if (row[metric] !== null && place !== undefined) line[place] = (line[place] || 0) + Number(row[metric]);
  }
  return names.map((key) => ({ name: key, values: values.get(key), colour: colours.of(dimension, key) }));
}

function sums_by_time(rows, step) {
  const found = new Map();
  for (const row of rows) {
    const sum = found.get(row[step]) || { bucket: row[step], calls: 0, total_tokens: null, cost_usd: null };
    sum.calls += row.calls;
    for (const key of ["total_tokens", "cost_usd"]) {
      if (row[key] !== null) sum[key] = (sum[key] || 0) + Number(row[key]);
    }
    found.set(row[step], sum);
  }
  return [...found.values()];
}
