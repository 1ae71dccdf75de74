// Which numbers make a chart? Steps of time without holes, the largest names, and all others together.
import { METRICS, OTHERS, colours } from "./charts.js";
import { cost_of, day, local_day, moment_at, name, now, offset_at } from "./format.js";

const DAY = 86_400_000;
const HOUR = DAY / 24;
const MOST_SERIES = 7;
const MOST_BUCKETS = 800;
const SLICES = 8;

/** Rows in the order of a number, each with its part of the largest. */
export function ranked(rows, metric) {
  const value = (row) => (row[metric] === null ? -1 : Number(row[metric]));
  const sorted = [...rows].sort((one, other) => value(other) - value(one));
  const most = Math.max(...sorted.map(value), 0);
  return sorted.map((row) => ({ ...row, part: most > 0 ? Math.max(value(row), 0) / most : 0 }));
}

/** The largest parts each for itself, the rest together. */
export function slices(rows, dimension, metric, total) {
  const sorted = ranked(rows, metric).filter((row) => Number(row[metric]) > 0);
  const parts = sorted.slice(0, SLICES).map((row) => {
    const text = name(row[dimension], dimension);
    return { name: text, key: row[dimension], value: Number(row[metric]), colour: colours.of(dimension, text) };
  });
  const rest = Number(total[metric] || 0) - parts.reduce((sum, part) => sum + part.value, 0);
  if (sorted.length > SLICES && rest > 0) parts.push({ name: OTHERS, key: null, value: rest, colour: colours.of(dimension, OTHERS) });
  return parts;
}

/** Names within names: the dimensions of `order` from the outside in; what the rows lack of the total is a part, too. */
export function tree_of(rows, order, metric, total = {}) {
  const roots = new Map();
  for (const row of rows) {
    const value = Number(row[metric] || 0);
    if (value <= 0) continue;
    let level = roots;
    order.forEach((key, index) => {
      const text = name(row[key], key);
      const colour = index === 0 ? colours.of(key, text) : undefined;
      const node = level.get(text) || { name: text, value: 0, children: new Map(), colour };
      node.value += value;
      level.set(text, node);
      level = node.children;
    });
  }
  const listed = (level) => [...level.values()].map(({ children, ...node }) =>
    (children.size ? { ...node, children: listed(children) } : node));
  const parts = listed(roots);
  const sum = parts.reduce((all, part) => all + part.value, 0);
  const rest = Number(total[metric] || 0) - sum;
  return rest > sum * 1e-9 ? [...parts, { name: OTHERS, value: rest, colour: colours.of(order[0], OTHERS) }] : parts;
}

/** When a range that is so many days back, such as "7d", begins: with a whole hour; in milliseconds. Nothing for others. */
export function span_begin(filters) {
  const found = /^(\d+)d$/.exec(filters.since || "");
  return found ? Math.floor((now() - Number(found[1]) * DAY) / HOUR) * HOUR : null;
}

function span_of(filters, first_call_at) {
  const begin = span_begin(filters);
  if (begin !== null) return now() - begin;
  const from = filters.since || first_call_at;
  return from ? (filters.until ? Date.parse(filters.until) : now()) - Date.parse(from) : DAY;
}

/** The step in which a range is best seen. */
export function step_of(filters, first_call_at) {
  const days = span_of(filters, first_call_at) / DAY;
  return days <= 3 ? "hour" : days <= 186 ? "day" : "month";
}

/** All steps from the first to the last, those without calls too. */
export function buckets_of(rows, step, filters) {
  const known = [...new Set(rows.map((row) => row[step]))].sort((one, other) => (in_order(one, step) < in_order(other, step) ? -1 : 1));
  if (known.length === 0) return [];
  const found = [];
  const end = in_order(known.at(-1), step);
  let at = known[0];
  const begin = span_begin(filters);
  if (step === "day" && begin !== null) at = min(at, local_day(begin));
  while (in_order(at, step) <= end && found.length < MOST_BUCKETS) {
    found.push(at);
    at = after(at, step);
  }
  return in_order(at, step) > end ? found : known;
}

/** What orders steps by time: of the two hours of an autumn night, the text of the later one may come first. */
const in_order = (bucket, step) => (step === "hour" ? Date.parse(bucket) : bucket);

const min = (one, other) => (one < other ? one : other);

/** When a step begins, and when the next one does. */
export function bounds_of(bucket, step) {
  const start = Date.parse(step === "month" ? `${bucket}-01` : step === "week" ? monday_of(bucket) : bucket);
  const at = new Date(start);
  const end = step === "month" ? Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1) : start + { hour: DAY / 24, day: DAY, week: 7 * DAY }[step];
  return [start, end];
}

function after(bucket, step) {
  const end = bounds_of(bucket, step)[1];
  if (step === "hour" && !bucket.endsWith("Z")) return hour_of(end);
  const at = new Date(end).toISOString();
  return { hour: `${at.slice(0, 13)}:00Z`, day: at.slice(0, 10), week: week_of(at), month: at.slice(0, 7) }[step];
}

/** An hour of a zone, with how far it is ahead of UTC: as the sums of hours are called. */
function hour_of(at) {
  const minutes = offset_at(at) / 60_000;
  const text = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60].map((part) => String(part).padStart(2, "0")).join(":");
  return `${new Date(at + minutes * 60_000).toISOString().slice(0, 13)}:00${minutes < 0 ? "-" : "+"}${text}`;
}

/** The first day of a week as ISO 8601 counts them, such as 2026-W07. */
function monday_of(week) {
  const [year, number] = week.split("-W").map(Number);
  const fourth = new Date(Date.UTC(year, 0, 4));
  return day(fourth.getTime() + ((number - 1) * 7 - ((fourth.getUTCDay() + 6) % 7)) * DAY);
}

function week_of(text) {
  const at = new Date(text);
  const thursday = new Date(at.getTime() + (3 - ((at.getUTCDay() + 6) % 7)) * DAY);
  const number = Math.floor((thursday - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / (7 * DAY)) + 1;
  return `${thursday.getUTCFullYear()}-W${String(number).padStart(2, "0")}`;
}

/** The begin of a day in the zone, or a moment as it is. */
function moment_of(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text) ? moment_at(Date.parse(text)) : Date.parse(text);
}

/** Whether a step has not ended, or began before the range did. */
export function is_part(bucket, step, filters) {
  const [start, end] = bounds_of(bucket, step).map((at) => (step === "hour" ? at : moment_at(at)));
  const since = span_begin(filters) ?? (filters.since ? moment_of(filters.since) : 0);
  const until = filters.until ? Math.min(moment_of(filters.until), now()) : now();
  return start < since || end > until;
}

export function label_of(bucket, step) {
  return step === "hour" ? `${bucket.slice(5, 10)} ${bucket.slice(11, 16)}` : bucket;
}

const known_of = (row, metric) => (metric === "cost_usd" ? cost_of(row) : row[metric]);

/** The largest names each for itself, the rest together. A step without calls has no column, and is 0 on a line, which
 *  has a gap where there were calls and none of them knows the number. */
export function series_of(rows, buckets, step, dimension, metric, kind) {
  const places = new Map(buckets.map((bucket, index) => [bucket, index]));
  const sums = new Map();
  for (const row of rows) {
    const key = dimension ? name(row[dimension], dimension) : METRICS[metric];
    sums.set(key, (sums.get(key) || 0) + Number(row[metric] || 0));
  }
  const order = [...sums].sort((one, other) => other[1] - one[1]).map(([key]) => key);
  const own = new Set(order.slice(0, order.length > MOST_SERIES + 1 ? MOST_SERIES : order.length));
  const names = order.length > own.size ? [...own, OTHERS] : [...own];
  const values = new Map(names.map((key) => [key, buckets.map(() => undefined)]));
  for (const row of rows) {
    const key = dimension ? name(row[dimension], dimension) : METRICS[metric];
    const line = values.get(own.has(key) ? key : OTHERS);
    const place = places.get(row[step]);
    const value = known_of(row, metric);
    if (place !== undefined) line[place] = value === null ? line[place] ?? null : (line[place] || 0) + Number(value);
  }
  const nothing = kind === "line" ? 0 : null;
  return names.map((key) => ({
    name: key, values: values.get(key).map((value) => (value === undefined ? nothing : value)), colour: colours.of(dimension, key),
  }));
}

export function sums_by_time(rows, step) {
  const found = new Map();
  for (const row of rows) {
    const sum = found.get(row[step]) || { bucket: row[step], calls: 0, unpriced_calls: 0, total_tokens: null, cost_usd: null };
    sum.calls += row.calls;
    sum.unpriced_calls += row.unpriced_calls;
    for (const key of ["total_tokens", "cost_usd"]) {
      if (row[key] !== null) sum[key] = (sum[key] || 0) + Number(row[key]);
    }
    found.set(row[step], sum);
  }
  return [...found.values()];
}
