// How is it drawn? With Apache ECharts as SVG; tooltips are drawn too, since the page allows no markup from scripts.
import { init } from "./echarts.js";
import { UNKNOWN, count, money, short } from "./format.js";

const PALETTE = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const PARTIAL = 0.5;
const open = new Set();

export function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** One colour for each name on the whole page, in the order in which the names come first. */
class Colours {
  constructor() {
    this.known = new Map();
  }

  of(dimension, value) {
    if (value === OTHERS) return style("--c-others");
    const key = `${dimension}\u0000${value}`;
    const mine = [...this.known.keys()].filter((each) => each.startsWith(`${dimension}\u0000`)).length;
    if (!this.known.has(key)) this.known.set(key, PALETTE[mine % PALETTE.length]);
    return style(this.known.get(key));
  }
}

export const OTHERS = "all others";
export const colours = new Colours();

/** A chart in an element of its own; `draw` is asked for the option again when the theme changes. */
export class Chart {
  constructor(label, { height = "", click } = {}) {
    this.element = document.createElement("div");
    this.element.className = `chart ${height}`;
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", label);
    this.label = label;
    this.click = click;
    this.watch = new ResizeObserver(() => this._fit());
    this.watch.observe(this.element);
    open.add(this);
  }

  /** Show what `draw()` gives; `said` is the chart in words. */
  set(draw, said) {
    this.draw = draw;
    this.said = said ? `${this.label}. ${said}` : this.label;
    this._show();
  }

  close() {
    this.watch.disconnect();
    open.delete(this);
    if (this.chart) this.chart.dispose();
  }

  _fit() {
    if (!this.element.clientWidth) return;
    if (this.chart) this.chart.resize();
    this._show();
  }

  _show() {
    if (!this.draw || !this.element.clientWidth) return;
    if (!this.chart) {
      this.chart = init(this.element, null, { renderer: "svg" });
      if (this.click) this.chart.on("click", (event) => this.click(event));
    }
    const aria = { enabled: true, label: { description: this.said } };
    this.chart.setOption({ ...base(), aria, ...this.draw(this.element.clientWidth, this.element.clientHeight) }, { notMerge: true });
  }
}

export function redraw() {
  for (const chart of open) chart._show();
}

function base() {
  return {
    animation: false,
    textStyle: { fontFamily: style("--font"), fontSize: 12, color: style("--muted") },
  };
}

function tooltip(more) {
  return {
    renderMode: "richText",
    confine: true,
    backgroundColor: style("--card"),
    borderColor: style("--line"),
    textStyle: { color: style("--text"), fontSize: 12, fontFamily: style("--font") },
    ...more,
  };
}

function legend(width, names) {
  return {
    type: "plain",
    data: names,
    bottom: 0,
    left: 0,
    itemWidth: 10,
    itemHeight: 10,
    textStyle: { color: style("--muted"), fontSize: 12, width: Math.min(220, width - 60), overflow: "truncate" },
  };
}

/** About how much room the names take below a chart. */
function legend_height(width, names) {
  let rows = 1;
  let used = 0;
  for (const each of names) {
    const wide = Math.min(220, width - 60, each.length * 6.6) + 26;
    if (used > 0 && used + wide > width) {
      rows += 1;
      used = 0;
    }
    used += wide;
  }
  return rows * 22 + 4;
}

export const METRICS = { total_tokens: "Tokens", cost_usd: "Cost", calls: "Calls" };
export const shown = (metric, value) => (metric === "cost_usd" ? money(value) : count(value));

function axis_label(metric) {
  return (value) => (metric === "cost_usd" ? `$${short(value)}` : short(value));
}

/** Stacked columns or lines over time: `buckets` are texts, `series` is [{ name, colour, values }]. */
export function time_chart({ buckets, series, metric, kind, label, is_partial }) {
  return (width) => {
    return {
      // Beside narrow columns there is room for the half of the last label that goes beyond its own.
      grid: { left: 8, right: Math.max(12, 34 - width / buckets.length / 2), top: 12, bottom: series.length > 1 ? 10 + legend_height(width, series.map((each) => each.name)) : 8, containLabel: true },
      legend: series.length > 1 ? legend(width, series.map((each) => each.name)) : { show: false },
      tooltip: tooltip({
        trigger: "axis",
        axisPointer: { type: kind === "bar" ? "shadow" : "line" },
        formatter: (points) => time_tooltip(points, metric, label, is_partial),
      }),
      xAxis: {
        type: "category",
        data: buckets,
        axisLabel: { formatter: label, hideOverlap: true, color: style("--muted") },
        axisLine: { lineStyle: { color: style("--line") } },
        axisTick: { show: false },
      },
      yAxis: {
        type: "value",
        splitNumber: 4,
        axisLabel: { formatter: axis_label(metric), color: style("--muted") },
        splitLine: { lineStyle: { color: style("--line") } },
      },
      series: series.map((each) => ({
        name: each.name,
        type: kind,
        stack: kind === "bar" ? "all" : undefined,
        data: each.values.map((value, index) =>
          (is_partial[index] && kind === "bar" ? { value, itemStyle: { color: each.colour, opacity: PARTIAL } } : value)),
        itemStyle: { color: each.colour },
        lineStyle: { color: each.colour, width: 2 },
        showSymbol: buckets.length < 40,
        symbolSize: 5,
        barMaxWidth: 42,
        emphasis: { focus: "none" },
      })),
    };
  };
}

function time_tooltip(points, metric, label, is_partial) {
  const known = points.filter((point) => point.value !== null && point.value !== undefined);
  const lines = known.filter((point) => point.value !== 0).map((point) => `${cut(point.seriesName)}  ${shown(metric, point.value)}`);
  const sum = known.reduce((total, point) => total + Number(point.value), 0);
  const part = is_partial[points[0].dataIndex] ? " (a part of it)" : "";
  const head = `${label(points[0].name)}${part}  ${known.length ? shown(metric, sum) : UNKNOWN}`;
  return plain_text([head, ...(lines.length > 1 ? lines : [])].join("\n"));
}

/** Names in drawn text: what the drawing library takes for its own marks is taken out. */
export function plain_text(text) {
  return String(text).replaceAll("{", "\uff5b").replaceAll("|", "\uff5c").replaceAll("}", "\uff5d");
}

function cut(text, most = 40) {
  const found = String(text);
  return found.length > most ? `${found.slice(0, most - 1)}\u2026` : found;
}

/** A ring of parts: [{ name, value, colour }]; the names stand beside it where there is room, else below. */
export function pie_chart({ parts, metric }) {
  return (width, height) => {
    const names = parts.map((part) => part.name);
    const is_beside = width > 460;
    const below = legend_height(width, names);
    const radius = is_beside ? Math.min(width * 0.23, height * 0.44) : Math.max(40, Math.min(width * 0.45, (height - below) / 2 - 8));
    const beside = { orient: "vertical", left: radius * 2 + 48, right: 0, top: "middle", bottom: "auto" };
    return {
      legend: { ...legend(is_beside ? width - radius * 2 - 48 : width, names), ...(is_beside ? beside : {}) },
      tooltip: tooltip({
        trigger: "item",
        formatter: (point) => plain_text(`${cut(point.name)}  ${shown(metric, point.value)}  ${point.percent.toFixed(1)} %`),
      }),
      series: [{
        type: "pie",
        radius: [radius * 0.6, radius],
        center: is_beside ? [radius + 12, "50%"] : ["50%", radius + 6],
        label: { show: false },
        emphasis: { scaleSize: 4 },
        itemStyle: { borderColor: style("--card"), borderWidth: 1 },
        data: parts.map((part) => ({ name: part.name, value: part.value, key: part.key, itemStyle: { color: part.colour } })),
      }],
    };
  };
}

/** How many letters the longest of the numbers beside bars has. */
function longest(series, text) {
  return Math.max(0, ...series.flatMap((each) => each.values.map((value) => text(value).length)));
}

/** Bars to the right: `names`, and one bar of each series for each. */
export function bar_chart({ names, series, text }) {
  return (width) => ({
    grid: { left: 8, right: Math.min(width * 0.3, 14 + longest(series, text) * 7), top: 8, bottom: series.length > 1 ? 34 : 8, containLabel: true },
    legend: series.length > 1 ? legend(width, series.map((each) => each.name)) : { show: false },
    tooltip: tooltip({
      trigger: "item",
      formatter: (point) => plain_text(`${cut(point.seriesName)}\n${cut(names[point.dataIndex])}  ${text(point.data)}`),
    }),
    xAxis: { type: "value", show: false, max: 100 },
    yAxis: {
      type: "category",
      inverse: true,
      data: names,
      axisLabel: { color: style("--text"), width: Math.min(200, width * 0.36), overflow: "truncate" },
      axisLine: { show: false },
      axisTick: { show: false },
    },
    series: series.map((each) => ({
      name: each.name,
      type: "bar",
      data: each.values,
      barMaxWidth: 16,
      itemStyle: { color: each.colour, borderRadius: 3 },
      label: { show: true, position: "right", color: style("--muted"), formatter: (point) => plain_text(text(point.data)) },
    })),
  });
}

/** Give all parts the colour of their root, as rings the fainter the deeper, with a text that can be read on it. */
function coloured(roots, is_flat) {
  const paint = ({ colour, children, ...node }, depth, inherited) => {
    const own = colour || inherited;
    const is_full = is_flat || depth === 0;
    return {
      ...node,
      itemStyle: is_flat && children ? { color: own, borderColor: style("--card") } : { color: own, opacity: is_full ? 1 : Math.max(0.18, 0.5 - depth * 0.12) },
      label: { color: style(is_full ? "--on-c" : "--text") },
      ...(children ? { children: children.map((child) => paint(child, depth + 1, own)) } : {}),
    };
  };
  return roots.map((root) => paint(root, 0, style("--c1")));
}

function depth_of(nodes) {
  return nodes.length ? 1 + Math.max(...nodes.map((node) => depth_of(node.children || []))) : 0;
}

/** Parts of parts: `roots` is [{ name, value, colour, children }]; as rings or as areas. */
export function tree_chart({ roots, metric, kind }) {
  const text = { formatter: (point) => plain_text(cut(point.name, 28)), overflow: "truncate", fontSize: 11 };
  const edge = { borderColor: style("--card"), borderWidth: 1 };
  const rings = (width) => {
    const radius = Math.min(width, 420) / 2;
    const ring = (radius * 0.84) / Math.max(1, depth_of(roots));
    return {
      type: "sunburst",
      radius: ["14%", "98%"],
      nodeClick: false,
      sort: "desc",
      label: { ...text, minAngle: 9, width: ring - 10, show: ring > 30 },
      itemStyle: edge,
      emphasis: { focus: "ancestor" },
    };
  };
  const areas = () => ({
    type: "treemap",
    roam: false,
    nodeClick: false,
    breadcrumb: { show: false },
    width: "100%",
    height: "100%",
    left: 0,
    top: 0,
    label: text,
    upperLabel: { ...text, show: true, height: 18, color: style("--text") },
    itemStyle: { ...edge, gapWidth: 1 },
  });
  return (width) => ({
    tooltip: tooltip({
      formatter: (point) => {
        const path = (point.treePathInfo || []).map((each) => each.name).filter(Boolean);
        return plain_text(`${cut((path.length ? path : [point.name]).join(" \u203a "), 90)}\n${shown(metric, point.value)}`);
      },
    }),
    series: [{ ...(kind === "sunburst" ? rings(width) : areas()), data: coloured(roots, kind !== "sunburst") }],
  });
}
