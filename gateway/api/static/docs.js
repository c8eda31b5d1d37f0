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
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
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
  return Object.entries(content || {}).map(([mediaType, body]) => typeOf(body.schema) + " (" + mediaType + ")").join(", ");
}

function operationOf(path, method, operation) {
  const node = el("details");
  const line = el("summary");
  line.append(el("span", method, "method"), el("code", path), el("span", " — " + operation.summary));
  node.append(line);
  if (operation.parameters && operation.parameters.length) {
    const rows = operation.parameters.map((parameter) => [
      parameter.name, typeOf(parameter.schema), parameter.in,
      parameter.description || parameter.schema.description || "",
    ]);
    node.append(table(rows, ["Parameter", "Type", "In", "Description"]));
  }
  if (operation.requestBody) node.append(el("p", "Body: " + bodyType(operation.requestBody.content)));
  const rows = Object.entries(operation.responses).map(([status, response]) =>
    [status, bodyType(response.content), response.description]);
  node.append(table(rows, ["Status", "Answer", "Meaning"]));
  return node;
}

function schemaOf(name, schema) {
  const node = el("details");
  node.id = name;
  const line = el("summary");
  line.append(el("code", name), el("span", schema.description ? " — " + schema.description.split("\n")[0] : ""));
  node.append(line);
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([field, property]) =>
    [field, typeOf(property), (required.has(field) ? "Required. " : "") + (property.description || "")]);
  node.append(table(rows, ["Field", "Type", "Description"]));
  return node;
}

fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  document.getElementById("about").textContent = api.info.description + " Version " + api.info.version + ".";
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) main.append(operationOf(path, method, operation));
  const schemas = document.getElementById("schemas");
  for (const [name, schema] of Object.entries(api.components.schemas)) schemas.append(schemaOf(name, schema));
});
