// What does it cost, and for what? Amounts, rates, and the prices behind them.
import { Problem, get } from "../api.js";
import { Chart, pie_chart, shown } from "../charts.js";
import { Card, Table, h, panel, setText } from "../dom.js";
import { change, cost_of, count, money, name, now, percent, plural } from "../format.js";
import { slices } from "../series.js";
import { Breakdown } from "./breakdown.js";
import { TimePanel } from "./timepanel.js";

const DAY = 86_400_000;
const METRIC = "cost_usd";
const PROJECTED_HOLDS = 60_000;

export function make(page) {
  const cards = {
    cost: new Card("Cost"),
    day: new Card("Per day", "The cost of the range for each of its days"),
    month: new Card("30 days at this rate", "Not a forecast: the cost per day, thirty times"),
    forecast: new Card("This month, projected", "From the complete days of the last eight weeks; the names above count, the range does not"),
    run: new Card("Per run"),
    calls: new Card("Per 1K calls", "Over the calls whose price is known"),
    thousand: new Card("Per 1K tokens", "Over the calls whose price and tokens are known"),
    saved: new Card("Saved by caches"),
    wasted: new Card("Wasted", "Cost of failed, cancelled and repeated calls"),
    unpriced: new Card("Calls without a price"),
  };
  let projected = "";
  let projected_until = 0;
  const gap = h("p", { class: "gaps", role: "note", hidden: true });
  const time = new TimePanel(page, "Cost over time", { metric: METRIC });
  const pie = new Chart("Cost by model", { height: "tall", click: (event) => event.data.key !== null && page.drill("model", event.data.key, { view: "explore" }) });
  const lists = ["model", "agent", "chain", "mode"].map((dimension) => new Breakdown(page, dimension, { metric: METRIC }));
  const prices = new Table("Prices", [
    { title: "model", text: (row) => name(row.model), className: "names", title_of: (row) => name(row.model) },
    { title: "Provider", text: (row) => name(row.provider), className: "names" },
    { title: "Input", number: true, text: (row) => rate(row, "input_mtok") },
    { title: "Cache read", number: true, text: (row) => rate(row, "cache_read_mtok") },
    { title: "Output", number: true, text: (row) => rate(row, "output_mtok") },
    { title: "From", text: (row) => [row.status === "unpriced" ? "no price is known" : row.source, row.version].filter(Boolean).join(" ") },
  ], { empty: "No calls in this range.", className: "long" });
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Cost"),
    h("div", { class: "cards" }, Object.values(cards).map((card) => card.element)), gap,
    h("div", { class: "grid two" }, time.element, panel("Cost by model", {}, pie.element)),
    h("div", { class: "grid" }, lists.map((list) => list.element)),
    panel("Prices now", {}, h("p", { class: "hint" }, "US dollars for one million tokens, of the models that were used. What was stored keeps the price of its own time."), prices.element));

  async function load(filters, signal) {
    show_forecast(filters);
    const [found, models, known, , ...rest] = await Promise.all([
      get("overview", filters, {}, signal),
      get("breakdown", filters, { by: "model", limit: 200 }, signal),
      get("prices", filters, {}, signal),
      time.ask(filters, signal),
      ...lists.map((list) => list.ask(filters, signal)),
    ]);
    fill(cards, gap, found, filters, page.status());
    time.show();
    pie.set(pie_chart({ parts: slices(models.rows, "model", METRIC, models.total), metric: METRIC }), `${shown(METRIC, models.total.cost_usd)} in all`);
    lists.forEach((list, index) => list.show(rest[index], METRIC));
    prices.fill(known.models);
    const missing = known.models.filter((model) => model.status === "unpriced").map((model) => name(model.model));
    if (missing.length && !gap.hidden) setText(gap, `${gap.textContent} No price is known for ${missing.slice(0, 5).join(", ")}${missing.length > 5 ? " and others" : ""}; an own price file (LANGCHAIN_TOKENS_PRICES) adds one.`);
  }

  /** Asked for now and then, and for each choice of names: it takes a while, and changes little with one call. */
  async function show_forecast({ since, until, tz, ...names }) {
    const question = JSON.stringify(names);
    if (question === projected && performance.now() < projected_until) return;
    if (question !== projected) cards.forecast.set("\u2026", []);
    projected = question;
    projected_until = performance.now() + PROJECTED_HOLDS;
    try {
      const found = await get("forecast", names);
      const interval = found.low === null || found.high === null ? "" : `${percent(found.confidence)} within ${money(found.low)} to ${money(found.high)}`;
      cards.forecast.set(money(found.projected), [interval, `${money(found.spent)} until now`]);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (![422, 501].includes(error.status)) projected_until = 0;
      cards.forecast.set("\u2014", [error.status === 501 ? "needs langchain_tokens[analytics]" : error.message]);
    }
  }

  return {
    element, load, close: () => {
      time.close();
      pie.close();
    },
  };
}

function rate(row, key) {
  if (row.status === "free") return "free";
  return row.unit_prices && row.unit_prices[key] !== undefined ? money(row.unit_prices[key]) : "\u2014";
}

function fill(cards, gap, found, filters, status) {
  const { total, previous } = found;
  const begin = found.since || status.first_call_at;
  const end = found.until ? Math.min(Date.parse(found.until), now()) : now();
  const days = begin ? (end - Date.parse(begin)) / DAY : 0;
  const daily = cost_of(total) === null || days <= 0 ? null : Number(total.cost_usd) / Math.max(days, 1 / 24);
  const against = previous && change(total.cost_usd, previous.cost_usd);
  const priced = total.calls - total.unpriced_calls;
  cards.cost.set(money(cost_of(total)), [against ? `${against} against before` : ""], { title: total.cost_usd ? `${total.cost_usd} USD` : "" });
  cards.day.set(money(daily), [days > 0 ? `over ${count(days, days < 10 ? 1 : 0)} days` : ""]);
  cards.month.set(money(daily === null ? null : daily * 30), []);
  cards.run.set(money(found.cost_per_run_usd), [`${count(found.runs)} runs`]);
  cards.calls.set(money(cost_of(total) === null || !priced ? null : (Number(total.cost_usd) * 1000) / priced), []);
  cards.thousand.set(money(found.cost_per_1k_tokens_usd), []);
  cards.saved.set(money(total.saved_cost_usd), [total.cache_read_tokens ? `${count(total.cache_read_tokens)} cached tokens` : ""]);
  cards.wasted.set(money(total.wasted_cost_usd), [total.wasted_cost_usd && Number(total.cost_usd) > 0 ? percent(total.wasted_cost_usd / total.cost_usd, 1) + " of the cost" : ""]);
  cards.unpriced.set(count(total.unpriced_calls), [`of ${plural(total.calls, "call")}`], { warn: total.unpriced_calls > 0 });
  gap.hidden = total.unpriced_calls === 0;
  setText(gap, total.unpriced_calls ? `${count(total.unpriced_calls)} of ${plural(total.calls, "call")} have no price; their cost is in no number here.` : "");
}
