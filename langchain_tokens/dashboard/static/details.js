// What is known of one call? And which names can be filtered by?
import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { UNKNOWN, count, duration, moment, money, name, zone_name } from "./format.js";

/** What fills an input, as `input_shares` names it. */
export const INPUT_PARTS = { system: "system", tools: "tools", history: "history", tool_results: "results", human: "human", other: "other" };

let came_from = null;

/** Show one call in the dialog, or close it where no call is asked for. */
export async function show_call(dialog, call_id, { leave_call, link, follow, is_asked }) {
  if (!call_id) {
    if (dialog.open && dialog.dataset.kind === "call") close_silently(dialog);
    return;
  }
  if (dialog.open && dialog.dataset.call === call_id) return;
  let content;
  let call = null;
  try {
    call = await get(`calls/${encodeURIComponent(call_id)}`);
    content = facts(call);
  } catch (error) {
    content = h("p", { class: "error" }, error.message);
  }
  if (!is_asked(call_id)) return; // somebody went on while it was on its way
  const close = () => dialog.close();
  const leave = (changes) => (event) => {
    close_silently(dialog);
    follow(event, { call: undefined, ...changes });
  };
  replace(dialog,
    h("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, call ? `Call of ${name(call.chain, "chain")}` : "Call"),
    content,
    call && said_in(call_id, dialog),
    h("div", { class: "actions" },
      call && h("a", { class: "button", href: link({ view: "runs", id: call.run_id, call: undefined }), onclick: leave({ view: "runs", id: call.run_id }) }, "Whole run"),
      call && call.session !== null && h("a", { class: "button", href: link({ view: "explore", call: undefined, filters: { session: [call.session] } }), onclick: leave({ view: "explore", filters: { session: [call.session] } }) }, "Whole session"),
      call && navigator.clipboard && h("button", { type: "button", onclick: () => navigator.clipboard.writeText(JSON.stringify(call, null, 2)) }, "Copy as JSON"),
      h("button", { type: "button", onclick: close }, "Close")));
  open_dialog(dialog, "call", leave_call);
  dialog.dataset.call = call_id;
}

/** Close it without a change of the address, which has changed already. */
function close_silently(dialog) {
  dialog.dataset.kind = "left";
  dialog.close();
}

function open_dialog(dialog, kind, closed) {
  came_from = document.activeElement;
  dialog.dataset.kind = kind;
  delete dialog.dataset.call;
  if (!dialog.open) dialog.showModal();
  dialog.onclose = () => {
    delete dialog.dataset.call;
    if (dialog.dataset.kind === kind && closed) closed();
    if (came_from && came_from.isConnected) came_from.focus();
  };
}

function facts(call) {
  const usage = call.usage || {};
  const details = (parts) => parts.filter(([, value]) => value !== null && value !== undefined)
    .map(([text, value]) => `${text} ${count(value)}`).join(", ");
  const with_details = (value, parts) => `${count(value)}${details(parts) ? ` (${details(parts)})` : ""}`;
  const lines = [
    [`Time (${zone_name()})`, `${moment(call.started_at)}${call.ended_at ? ` to ${moment(call.ended_at).slice(11)}` : ""}`],
    ["Status", [call.status, call.error_type, call.error_message].filter(Boolean).join(": ")],
    ["Chain", name(call.chain, "chain")],
    ["Agent", name(call.agent, "agent")],
    ["Path", call.path || UNKNOWN],
    ["Attempt", `${call.attempt}${call.retry_kind ? ` (${call.retry_kind})` : ""}${call.attempt_error ? `, because of: ${call.attempt_error}` : ""}`],
    ["Model", `${name(call.model)}${call.requested_model && call.requested_model !== call.model ? ` (asked for ${call.requested_model})` : ""}`],
    ["Provider", name(call.provider)],
    ["Mode", name(call.mode)],
    ["Session", name(call.session)],
    ["User", name(call.user)],
    ["Tags", Object.entries(call.tags).map(([key, value]) => `${key}=${value}`).join(", ") || UNKNOWN],
    ["Input tokens", with_details(usage.input_tokens, [["from cache", usage.cache_read_tokens], ["into cache", usage.cache_write_tokens], ["audio", usage.audio_input_tokens]])],
    ["Input filled by", call.input_parts ? `~ ${Object.entries(INPUT_PARTS).filter(([key]) => call.input_parts[key]).map(([key, text]) => `${text} ${count(call.input_parts[key])}`).join(", ")}` : UNKNOWN],
    ["Output tokens", with_details(usage.output_tokens, [["reasoning", usage.reasoning_tokens], ["audio", usage.audio_output_tokens]])],
    ["Total tokens", count(usage.total_tokens)],
    ["Tokens by", call.usage_source + (call.usage_flags.length ? ` (${call.usage_flags.join(", ")})` : "")],
    ["Cost", `${money(call.cost_usd)}${call.cost_usd === null ? "" : ` (input ${money(call.input_cost_usd)}, output ${money(call.output_cost_usd)}${call.other_cost_usd ? `, other ${money(call.other_cost_usd)}` : ""})`}`],
    ["Price", [call.price_status, call.price_source, call.price_version].filter(Boolean).join(", ")],
    ["Saved by caches", money(call.saved_cost_usd)],
    ["Duration", duration(call.duration_ms)],
    ["First token after", duration(call.time_to_first_token_ms)],
    ["Tokens per second", count(call.tokens_per_second, 1)],
    ["Tools asked for", call.tool_calls.join(", ") || UNKNOWN],
    ["Finish reason", call.finish_reason || UNKNOWN],
    ["Call", call.call_id],
    ["Run", call.run_id],
  ];
  return h("dl", { class: "facts" }, lines.map(([head, text]) => h("div", {}, h("dt", {}, head), h("dd", {}, text))));
}

/** What was said in a call: asked for when it is opened, as is what shows it, and taken off the page when it is closed. */
function said_in(call_id, dialog) {
  const said = h("div", { class: "said" });
  let asking = new AbortController();
  const turn = async () => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    replace(said);
    if (!element.open) return;
    try {
      const { show_said } = await import("./saying.js");
      if (!signal.aborted) await show_said(said, call_id, signal);
    } catch (error) {
      if (!signal.aborted) replace(said, h("p", { class: "error", role: "alert" }, error.message));
    }
  };
  const element = h("details", { ontoggle: turn }, h("summary", {}, "What was said"), said);
  dialog.addEventListener("close", () => (element.open = false), { once: true });
  return element;
}

/** Choose a name to filter by. */
export async function show_filter(dialog, filters, add) {
  const known = await get("dimensions", filters);
  const { tags, ...dimensions } = known;
  const keys = [...Object.keys(dimensions), ...Object.keys(tags).map((key) => `tag:${key}`)];
  const which = h("select", { name: "dimension", onchange: () => offer() }, keys.map((key) => h("option", { value: key }, key)));
  const offers = h("datalist", { id: "filter-names" });
  const value = h("input", { name: "value", list: "filter-names", required: true, autocomplete: "off" });
  const offer = () => {
    const key = which.value;
    const found = key.startsWith("tag:") ? tags[key.slice(4)] : dimensions[key];
    replace(offers, found.map((each) => h("option", { value: name(each, key) })));
    value.value = "";
  };
  const submit = (event) => {
    event.preventDefault();
    dialog.close();
    const key = which.value;
    if (key.startsWith("tag:")) {
      const tag = key.slice(4);
      add("tag", `${tag.includes("=") || tag.startsWith('"') ? JSON.stringify(tag) : tag}=${value.value}`);
    } else add(key, value.value);
  };
  offer();
  replace(dialog,
    h("h2", { id: "dialog-title" }, "Add a filter"),
    h("form", { class: "form", onsubmit: submit },
      h("label", {}, "Dimension", which), h("label", {}, "Value", value), offers,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Add"),
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
  open_dialog(dialog, "filter");
  value.focus();
}

/** The columns of a table of calls. */
export function call_columns() {
  return [
    { title: `Time (${zone_name()})`, text: (call) => moment(call.started_at) },
    { title: "Chain", text: (call) => name(call.chain, "chain"), className: "names" },
    { title: "Agent", text: (call) => name(call.agent), className: "names" },
    { title: "Model", text: (call) => name(call.model), className: "names" },
    { title: "Mode", text: (call) => name(call.mode), className: "names" },
    { title: "Input", number: true, text: (call) => count(call.usage?.input_tokens) },
    { title: "Output", number: true, text: (call) => count(call.usage?.output_tokens) },
    { title: "Cached", number: true, text: (call) => count(call.usage?.cache_read_tokens) },
    { title: "Total", number: true, text: (call) => `${call.usage_source === "estimated" ? "~" : ""}${count(call.usage?.total_tokens)}`, title_of: (call) => (call.usage_source === "estimated" ? "estimated" : "") },
    { title: "Cost", money: (call) => call.cost_usd, title_of: (call) => call.price_status },
    { title: "Duration", number: true, text: (call) => duration(call.duration_ms) },
    { title: "Status", text: (call) => call.status, state: (call) => call.status, title_of: (call) => call.error_message },
  ];
}
