// What does a report draw? Its own data, which stands in the file; it is put together with the modules before it.
import { Chart, METRICS, pie_chart, redraw, shown, time_chart, tree_chart } from "./charts.js";
import { buckets_of, is_part, label_of, series_of, slices, tree_of } from "./series.js";

const found = JSON.parse(document.getElementById("data").textContent);
const bounds = { since: found.since || undefined, until: found.until };

function put(place, title, draw, said) {
  const chart = new Chart(title, { height: "tall" });
  document.getElementById(place).append(chart.element);
  chart.set(draw, said);
}

function over_time(place, metric) {
  const { rows, total } = found.timeline;
  const buckets = buckets_of(rows, found.step, {});
  const series = series_of(rows, buckets, found.step, "model", metric, "bar");
  const is_partial = buckets.map((bucket) => is_part(bucket, found.step, bounds));
  const label = (bucket) => label_of(bucket, found.step);
  put(place, `${METRICS[metric]} over time`, time_chart({ buckets, series, metric, kind: "bar", label, is_partial }),
    `${shown(metric, total[metric])} in all, by ${found.step} and model`);
}

for (const each of document.querySelectorAll("[data-charts]")) each.hidden = false;
over_time("time-tokens", "total_tokens");
over_time("time-cost", "cost_usd");
put("pie", "Cost by model", pie_chart({ parts: slices(found.models.rows, "model", "cost_usd", found.models.total), metric: "cost_usd" }),
  `${shown("cost_usd", found.models.total.cost_usd)} in all`);
put("sunburst", "Tokens by agent, chain and model", tree_chart({ roots: tree_of(found.nested.rows, found.order, "total_tokens", found.nested.total), metric: "total_tokens", kind: "sunburst" }), "");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
