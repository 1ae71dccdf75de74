// Which model does the work best? Side by side, with the best of each column marked.
import { get } from "../api.js";
import { Chart, bar_chart, colours } from "../charts.js";
import { Table, h, panel, setText } from "../dom.js";
import { cost_of, count, duration, money, name, percent } from "../format.js";
import { ranked } from "../series.js";
import { name_cell } from "./breakdown.js";

const MOST_COMPARED = 4;
/** A mean over the calls that know the number, as the server says it. */
const mean = (row, key, times = 1) => (row.means[key] === null ? null : Number(row.means[key]) * times);
const mean_cost = (row, key, times) => (cost_of(row) === null ? null : mean(row, key, times));

const NUMBERS = [
  { title: "Calls", of: (row) => row.calls, text: count },
  { title: "Tokens", of: (row) => row.total_tokens, text: count },
  { title: "Cost", of: (row) => (cost_of(row) === null ? null : Number(row.cost_usd)), text: money },
  { title: "Cached input", of: (row) => (row.cache_read_tokens === null || !row.input_tokens ? null : row.cache_read_tokens / row.input_tokens), text: percent, best: "most" },
  { title: "Tokens a call", of: (row) => mean(row, "total_tokens"), text: count, best: "least" },
  { title: "Output a call", of: (row) => mean(row, "output_tokens"), text: count },
  { title: "Mean time", of: (row) => mean(row, "duration_ms"), text: duration, best: "least" },
  { title: "Tokens/s", of: (row) => row.tokens_per_second, text: (value) => count(value, 1), best: "most" },
  { title: "Success", of: (row) => row.success_rate, text: (value) => percent(value, 1), best: "most" },
  { title: "Cost of 1K calls", of: (row) => mean_cost(row, "cost_usd", 1e3), text: money, best: "least" },
  { title: "Cost of 1M tokens", of: (row) => mean_cost(row, "cost_per_1m_tokens_usd"), text: money, best: "least" },
];

export function make(page) {
  const picked = new Set();
  let rows = [];
  const best = new Map();
  const mark = (number) => (row) => {
    const value = number.of(row);
    return `${number.text(value)}${value !== null && best.get(number.title) === value && rows.length > 1 ? " \u2605" : ""}`;
  };
  const tick = (row, cell) => {
    let box = cell.firstChild;
    if (!box) {
      box = h("input", { type: "checkbox" });
      box.addEventListener("change", () => pick(box));
      cell.append(box);
    }
    box.value = key_of(row);
    box.checked = picked.has(key_of(row));
    box.setAttribute("aria-label", `Compare ${name(row.model)}`);
  };
  const table = new Table("Models", [
    { title: "model", node: name_cell("model", (value) => page.drill("model", value, { view: "explore", by: "chain" })), className: "names" },
    { title: "Compare", node: tick },
    { title: "Provider", text: (row) => name(row.provider), className: "names" },
    ...NUMBERS.map((number) => ({ title: number.title, number: true, text: mark(number) })),
  ], { empty: "No calls in this range.", className: "long" });
  const chart = new Chart("Models side by side", { height: "taller" });
  const hint = h("p", { class: "hint" });
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Models"),
    panel("Models", {}, table.element, h("p", { class: "hint" }, "\u2605 is the best of its column. A number covers only the calls that know it.")),
    panel("Side by side", {}, hint, chart.element));

  function pick(box) {
    if (box.checked) picked.add(box.value);
    else picked.delete(box.value);
    if (picked.size > MOST_COMPARED) picked.delete(picked.values().next().value);
    show();
  }

  function show() {
    table.fill(rows);
    const compared = rows.filter((row) => picked.has(key_of(row)));
    const models = compared.length > 1 ? compared : rows.slice(0, 3);
    setText(hint, compared.length > 1 ? "Each number as a part of the largest among these models."
      : "The largest three; tick two to four models to compare those. Each number is shown as a part of the largest.");
    const shown = NUMBERS.filter((number) => models.some((row) => number.of(row) !== null));
    const most = shown.map((number) => Math.max(...models.map((row) => number.of(row) ?? 0)));
    const series = models.map((row) => ({
      name: name(row.model),
      colour: colours.of("model", name(row.model)),
      values: shown.map((number, index) => {
        const value = number.of(row);
        return { value: value === null || !most[index] ? null : (value / most[index]) * 100, text: number.text(value) };
      }),
    }));
    chart.set(bar_chart({ names: shown.map((number) => number.title), series, text: (point) => point.text }),
      models.map((row) => `${name(row.model)}: ${shown.map((number) => `${number.title} ${number.text(number.of(row))}`).join(", ")}`).join("; "));
  }

  async function load(filters, signal) {
    const found = await get("breakdown", filters, { by: ["provider", "model"], means: true }, signal);
    rows = ranked(found.rows, "total_tokens");
    best.clear();
    for (const number of NUMBERS.filter((each_number) => each_number.best)) {
      const known = rows.map(number.of).filter((value) => value !== null);
      if (known.length) best.set(number.title, number.best === "most" ? Math.max(...known) : Math.min(...known));
    }
    show();
  }

  return { element, load, close: () => chart.close() };
}

function key_of(row) {
  return JSON.stringify([row.provider, row.model]);
}
