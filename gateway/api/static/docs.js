"use strict";

function el(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.map(typeOf).join(" | ");
  if (schema.type === "array") return "list of " + (typeOf(schema.items) || "anything");
  return Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type || "any";
}

function table(rows, heads) {
  const node = el("table");
  const head = el("tr");
  heads.forEach((text) => head.append(el("th", text)));
  node.append(head);
  rows.forEach((cells) => {
    const row = el("tr");
    cells.forEach((text, at) => {
      const cell = el("td");
      cell.append(at < 2 ? el("code", text) : el("span", text));
      row.append(cell);
    });
    node.append(row);
  });
  return node;
}

function bodyType(content) {
  return Object.entries(content || {}).map(([media, one]) => typeOf(one.schema) + " (" + media + ")").join(", ");
}

function operation(path, method, one) {
  const node = el("details");
  const line = el("summary");
  line.append(el("span", method, "method"), el("code", path), el("span", " — " + one.summary));
  node.append(line);
  if (one.parameters && one.parameters.length) {
    const rows = one.parameters.map((p) => [p.name, typeOf(p.schema), p.in, p.description || p.schema.description || ""]);
    node.append(table(rows, ["Parameter", "Type", "In", ""]));
  }
  if (one.requestBody) node.append(el("p", "Body: " + bodyType(one.requestBody.content)));
  const rows = Object.entries(one.responses).map(([status, r]) => [status, bodyType(r.content), r.description]);
  node.append(table(rows, ["Status", "Answer", ""]));
  return node;
}

function schemaOf(name, schema) {
  const node = el("details");
  node.id = name;
  const line = el("summary");
  line.append(el("code", name), el("span", schema.description ? " — " + schema.description.split("\n")[0] : ""));
  node.append(line);
  const needed = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([field, one]) =>
    [field, typeOf(one), (needed.has(field) ? "required. " : "") + (one.description || "")]);
  node.append(table(rows, ["Field", "Type", ""]));
  return node;
}

fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  document.getElementById("about").textContent = api.info.description + " Version " + api.info.version + ".";
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, one] of Object.entries(methods)) main.append(operation(path, method, one));
  const schemas = document.getElementById("schemas");
  for (const [name, schema] of Object.entries(api.components.schemas)) schemas.append(schemaOf(name, schema));
});
