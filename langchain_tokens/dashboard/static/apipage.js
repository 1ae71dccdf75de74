// What can a program ask? The API's own description, as a page.
import { h, replace } from "./dom.js";
import { plural } from "./format.js";

const described = await fetch("openapi.json").then((answer) => answer.json()).catch(() => null);

function parameter(each) {
  const schema = each.schema || {};
  const kinds = schema.anyOf ? schema.anyOf.map((one) => one.type).filter((type) => type !== "null") : [schema.type];
  const choices = schema.enum ? ` (${schema.enum.join(", ")})` : "";
  const repeated = schema.type === "array" ? ", may be repeated" : "";
  return h("tr", {}, h("th", { scope: "row" }, each.name), h("td", {}, each.in),
    h("td", {}, `${kinds.join(" or ")}${choices}${repeated}${each.required ? ", required" : ""}`), h("td", {}, each.description || schema.description || ""));
}

function route(path, method, operation) {
  const parameters = operation.parameters || [];
  const example = method === "get" && !path.includes("{") ? h("a", { href: path.slice(1) }, "try it") : null;
  return h("section", { class: "panel" },
    h("div", { class: "head" }, h("h2", {}, `${method.toUpperCase()} ${path}`), example),
    h("p", {}, operation.description || operation.summary || ""),
    parameters.length ? h("details", {}, h("summary", {}, plural(parameters.length, "parameter")),
      h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, parameters.map(parameter))))) : null);
}

function draw({ info, paths }) {
  return [h("p", {}, info.description), h("p", {}, "For machines: ", h("a", { href: "openapi.json" }, "openapi.json")),
    ...Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => route(path, method, operation)))];
}

replace(document.getElementById("routes"), described ? draw(described)
  : h("p", { class: "error", role: "alert" }, "The server does not answer. ", h("a", { href: "" }, "Try again")));
