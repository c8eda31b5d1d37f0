"use strict";

/* A path that is relative to the page: it also works behind a proxy that puts a prefix before all paths. */
const DOCUMENT = "openapi.json";
const LIMITS = ["minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"];

function el(tag, content, className) {
  const node = document.createElement(tag);
  if (content !== undefined) node.append(...[content].flat());
  if (className) node.className = className;
  return node;
}

function link(to, text) {
  const node = el("a", text);
  node.href = "#" + to;
  return node;
}

const idOf = (kind, name) => kind + "-" + name.replace(/\W+/g, "-");
const schemaName = (reference) => reference.split("/").pop();

/* Texts of the document: `code` in a line; paragraphs, headings and tables of Markdown. */
function inline(text) {
  return text.split(/(`[^`]+`)/).filter(Boolean).map((part) =>
    part.startsWith("`") && part.length > 2 ? el("code", part.slice(1, -1)) : part);
}

function blocks(text) {
  return text.split("\n\n").map((block) => {
    if (block.startsWith("## ")) {
      const node = el("h2", block.slice(3));
      node.id = idOf("about", block.slice(3));
      return node;
    }
    if (!block.startsWith("|")) return el("p", inline(block));
    const [heads, , ...rows] = block.split("\n").map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
    const node = table(rows.map((cells) => cells.map(inline)), heads);
    rows.forEach((cells, at) => { node.querySelectorAll("tbody tr")[at].id = idOf("code", cells[0]); });
    return node;
  });
}

function table(rows, heads) {
  const node = el("table");
  node.append(el("thead", el("tr", heads.map((text) => el("th", text)))));
  node.append(el("tbody", rows.map((cells) => el("tr", cells.map((content, at) => {
    const cell = el("td", content);
    cell.dataset.head = heads[at];
    return cell;
  })))));
  return el("div", node, "scroll");
}

function between(parts, separator) {
  return parts.flatMap((part, at) => (at ? [separator, ...part] : part));
}

/* The type of a schema, with a link to each schema that it names. */
function typeOf(schema) {
  if (!schema) return [];
  if (schema.$ref) return [link(idOf("schema", schemaName(schema.$ref)), schemaName(schema.$ref))];
  if (schema.enum) return between(schema.enum.map((value) => [el("code", JSON.stringify(value))]), " | ");
  if (schema.const !== undefined) return [el("code", JSON.stringify(schema.const))];
  const several = schema.anyOf || schema.oneOf;
  if (several) return between(several.map(typeOf), " | ");
  if (schema.type === "array") return ["list of ", ...(schema.items ? typeOf(schema.items) : ["anything"])];
  if (schema.contentSchema) return ["text with ", ...typeOf(schema.contentSchema)];
  if (schema.type === "object" && schema.additionalProperties && schema.additionalProperties.type)
    return ["object of ", ...typeOf(schema.additionalProperties)];
  if (schema.format === "binary") return ["bytes"];
  return [[schema.type || "anything"].flat().join(" | ")];
}

function limitsOf(schema) {
  const own = LIMITS.filter((name) => schema[name] !== undefined).map((name) => name + " " + schema[name]);
  return [...own, ...(schema.anyOf || []).flatMap(limitsOf)];
}

function meaningOf(schema, required, text) {
  const parts = [];
  if (required) parts.push(el("span", "Required. ", "required"));
  if (schema.deprecated) parts.push("Deprecated. ");
  parts.push(...inline(text || schema.description || ""));
  const limits = limitsOf(schema);
  if (limits.length) parts.push(" (" + limits.join(", ") + ")");
  if (schema.default !== undefined && schema.default !== null)
    parts.push(" Default: ", el("code", JSON.stringify(schema.default)));
  if (schema.examples) parts.push(" Examples: ", el("code", schema.examples.map((one) => JSON.stringify(one)).join(", ")));
  return parts;
}

function exampleOf(value) {
  const shown = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return el("details", [el("summary", "Example"), el("pre", shown)]);
}

function contentOf(content) {
  return Object.entries(content || {}).map(([mediaType, body]) => {
    const node = el("div", [el("code", mediaType), " ", ...typeOf(body.schema)]);
    if (body.example !== undefined) node.append(exampleOf(body.example));
    return node;
  });
}

function headersOf(headers, api) {
  return Object.entries(headers || {}).map(([name, header]) => {
    const shown = header.$ref ? api.components.headers[schemaName(header.$ref)] : header;
    return [el("code", name), inline(shown.description)];
  });
}

function operationOf(path, method, operation, api) {
  const node = el("details");
  node.id = idOf("operation", operation.operationId);
  node.append(el("summary", [el("span", method, "method"), el("code", path), " — ", ...inline(operation.summary)]));
  if (operation.description && operation.description !== operation.summary + ".") node.append(...blocks(operation.description));
  const security = (operation.security || api.security).flatMap(Object.keys);
  node.append(el("p", security.length
    ? ["Key: ", ...between(security.map((name) => [link("about-Authentication", name)]), " or ")] : "Needs no key."));
  if ((operation.parameters || []).length) {
    const rows = operation.parameters.map((parameter) => [
      el("code", parameter.name), typeOf(parameter.schema), parameter.in,
      meaningOf(parameter.schema, parameter.required, parameter.description),
    ]);
    node.append(el("h3", "Parameters"), table(rows, ["Parameter", "Type", "In", "Description"]));
  }
  if (operation.requestBody) node.append(el("h3", "Body"), ...contentOf(operation.requestBody.content));
  const rows = Object.entries(operation.responses).map(([status, response]) => [
    Number(status) >= 400 ? link("about-Errors-of-requests", status) : status,
    response.description, contentOf(response.content),
  ]);
  node.append(el("h3", "Answers"), table(rows, ["Status", "Meaning", "Answer"]));
  const success = Object.keys(operation.responses).find((status) => status.startsWith("2"));
  const headers = headersOf((operation.responses[success] || {}).headers, api);
  if (headers.length) node.append(el("h3", "Headers of the answer"), table(headers, ["Header", "Description"]));
  return node;
}

function schemaOf(name, schema, users) {
  const node = el("details");
  node.id = idOf("schema", name);
  node.append(el("summary", [el("code", name), ...(schema.description ? [" — ", ...inline(schema.description.split("\n")[0])] : [])]));
  if (schema.enum) node.append(el("p", ["One of: ", ...typeOf(schema)]));
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([field, property]) =>
    [el("code", field), typeOf(property), meaningOf(property, required.has(field))]);
  if (rows.length) node.append(table(rows, ["Field", "Type", "Description"]));
  if (users.length) node.append(el("p", ["Used by: ", ...between(users.map((user) => [user]), ", ")]));
  return node;
}

/* For each schema: links to the operations and schemas that name it. */
function usersOf(api) {
  const users = new Map(Object.keys(api.components.schemas).map((name) => [name, new Map()]));
  function note(value, key, text) {
    if (value === null || typeof value !== "object") return;
    if (typeof value.$ref === "string" && users.has(schemaName(value.$ref))) users.get(schemaName(value.$ref)).set(key, text);
    Object.entries(value).forEach(([name, inner]) => { if (name !== "example") note(inner, key, text); });
  }
  each(api, (path, method, operation) => note(operation, idOf("operation", operation.operationId), operation.operationId));
  Object.entries(api.components.schemas).forEach(([name, schema]) => note(schema, idOf("schema", name), name));
  return users;
}

function each(api, act) {
  for (const paths of [api.paths, api.webhooks || {}])
    for (const [path, methods] of Object.entries(paths))
      for (const [method, operation] of Object.entries(methods)) act(path, method, operation);
}

const count = (chapter) => chapter.querySelectorAll(":scope > details").length;

/* A link to something folded opens it. */
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
}

function show(api) {
  document.getElementById("about").replaceChildren(
    el("p", "Version " + api.info.version + ". Server: " + api.servers.map((server) => new URL(server.url, location.href)).join(", ")),
    ...blocks(api.info.description));
  const main = document.getElementById("operations");
  main.replaceChildren();
  const chapters = new Map();
  for (const tag of api.tags) {
    const chapter = el("section", [el("h2", [tag.name, link("navigation", "Contents")]), el("p", inline(tag.description))]);
    chapter.id = idOf("tag", tag.name);
    chapters.set(tag.name, chapter);
    main.append(chapter);
  }
  each(api, (path, method, operation) => {
    for (const tag of operation.tags) chapters.get(tag).append(operationOf(path, method, operation, api));
  });
  const users = usersOf(api);
  const schemas = document.getElementById("schemas");
  schemas.append(el("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas))
    schemas.append(schemaOf(name, schema, [...users.get(name)].map(([to, text]) => link(to, text))));
  const entries = [...document.querySelectorAll("#about h2")].map((head) => link(head.id, head.textContent));
  entries.push(...api.tags.map((tag) => link(idOf("tag", tag.name), tag.name + " (" + count(chapters.get(tag.name)) + ")")));
  entries.push(link("schemas", "Schemas"));
  document.getElementById("navigation").replaceChildren(el("ul", entries.map((entry) => el("li", entry))));
  window.addEventListener("hashchange", openTarget);
  openTarget();
}

fetch(DOCUMENT).then((answer) => answer.json()).then(show);
