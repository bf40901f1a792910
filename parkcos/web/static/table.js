// A sortable table that has rows in the page only for what is seen, so that 10,000 cost as few as 50.

import { h, setText } from "./dom.js";

const ALL_BELOW = 120; // so few rows are all in the page: searching in it and reading it aloud find each
const OVERSCAN = 12; // rows beyond what is seen
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return collator.compare(String(a), String(b));
}

const classesOf = ({ numeric, from, key }) =>
  [numeric && "number", from && `from-${from}`, `c-${key}`].filter(Boolean).join(" ");

const unknown = (value) => value === null || value === undefined || value === "";

/**
 * columns: [{key, label, text(row) -> what is shown, value(row) -> what is sorted by (else the text),
 *   draw(cell, row, text) for more than text, called only when the text differs, numeric,
 *   from: "m" | "l" | "xl" (the least width of the page that has it), sort: false,
 *   sparse: that it is there only if a row has something in it}]
 * sort: {key, down}.  href(row): where a click on the row leads.  mark(row): a class of the row.
 * select: {can(row), name(row), changed(ids)}: a box before each row.
 */
export class Table {
  constructor({ name, kind, columns, sort, empty, href = null, mark = null, select = null }) {
    Object.assign(this, { columns, sort, href, mark, select });
    this.rows = [];
    this.sorted = [];
    this.shown = new Map(); // key -> tr
    this.selected = new Set();
    this.height = 0; // of a row
    this.headers = new Map();
    const head = h("tr", { role: "row" }, select && this.#selectHeader(),
      columns.map((column) => this.#header(column)));
    this.top = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
    this.bottom = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
    this.body = h("tbody", { role: "rowgroup" }, this.top, this.bottom);
    this.table = h("table", { class: `grid ${kind}`, role: "table", "aria-label": name },
      h("thead", { role: "rowgroup" }, head), this.body);
    this.empty = h("p", { class: "empty", hidden: true }, empty);
    this.element = h("div", { class: "table" }, this.#sorter(name), this.table, this.empty);
    this.onScroll = () => {
      if (this.frame || this.sorted.length <= ALL_BELOW) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        const [first, last] = this.#range();
        if (first !== this.first || last !== this.last) this.draw();
      });
    };
    this.onResize = () => { this.height = 0; this.draw(); };
    window.addEventListener("scroll", this.onScroll, { passive: true });
    window.addEventListener("resize", this.onResize, { passive: true });
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.#showSort();
  }

  end() {
    window.removeEventListener("scroll", this.onScroll);
    window.removeEventListener("resize", this.onResize);
    cancelAnimationFrame(this.frame);
  }

  setRows(rows, empty) {
    this.rows = rows;
    if (empty !== undefined) setText(this.empty, empty);
    for (const column of this.columns) {
      if (column.sparse) this.table.classList.toggle(`no-${column.key}`, !rows.some((row) => column.text(row)));
    }
    if (this.select) {
      const able = new Set(rows.filter(this.select.can).map((row) => row.id));
      const before = this.selected.size;
      for (const id of this.selected) if (!able.has(id)) this.selected.delete(id);
      if (this.selected.size !== before) this.select.changed(this.selected);
      this.able = able;
    }
    this.#sort();
    this.draw();
  }

  clearSelection() {
    this.selected.clear();
    this.select.changed(this.selected);
    this.draw();
  }

  // -- the head

  #header(column) {
    const classes = classesOf(column);
    if (column.sort === false) return h("th", { role: "columnheader", scope: "col", class: classes }, column.label);
    const header = h("th", { role: "columnheader", scope: "col", class: classes, title: column.title },
      h("button", { type: "button", on: { click: () => this.sortBy(column.key) } }, h("span", {}, column.label),
        h("span", { class: "arrow", "aria-hidden": "true" })));
    this.headers.set(column.key, header);
    return header;
  }

  /** On a phone there is no row of headers: a list of them takes its place. */
  #sorter(name) {
    const sortable = this.columns.filter((column) => column.sort !== false);
    this.choice = h("select",
      { "aria-label": `${name}: sort by`, on: { change: () => this.sortBy(this.choice.value, false) } },
      sortable.map((column) => h("option", { value: column.key }, column.title || column.label)));
    this.direction = h("button", { type: "button", on: { click: () => this.sortBy(this.sort.key) } });
    return h("div", { class: "sorter" }, h("span", {}, "Sort by"), this.choice, this.direction);
  }

  sortBy(key, turn = true) {
    const column = this.columns.find((each) => each.key === key);
    const same = this.sort.key === key;
    const first = Boolean(column.numeric || column.down);
    this.sort = { key, down: same ? this.sort.down !== turn : first };
    this.#showSort();
    this.#sort();
    this.draw();
  }

  #showSort() {
    for (const [key, header] of this.headers) {
      if (key === this.sort.key) header.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    }
    this.choice.value = this.sort.key;
    setText(this.direction, this.sort.down ? "↓ descending" : "↑ ascending");
  }

  #sort() {
    const column = this.columns.find((each) => each.key === this.sort.key);
    const value = column.value || column.text;
    const sign = this.sort.down ? -1 : 1;
    const keyed = this.rows.map((row) => [value(row), row]);
    keyed.sort(([a, first], [b, second]) => {
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b) || compare(first.id, second.id);
      return sign * compare(a, b) || compare(first.id, second.id);
    });
    this.sorted = keyed.map(([, row]) => row);
  }

  #selectHeader() {
    this.all = h("input", { type: "checkbox", "aria-label": "Select all that can be", on: { change: () => {
      for (const id of this.able) if (this.all.checked) this.selected.add(id); else this.selected.delete(id);
      this.select.changed(this.selected);
      this.draw();
    } } });
    return h("th", { role: "columnheader", scope: "col", class: "c-select" }, this.all);
  }

  // -- the rows

  #range() {
    const many = this.sorted.length;
    if (many <= ALL_BELOW) return [0, many];
    const height = this.height || 37;
    const top = this.body.getBoundingClientRect().top;
    const first = OVERSCAN * Math.floor(-top / height / OVERSCAN - 1); // in steps: most scrolling changes nothing
    const last = OVERSCAN * Math.ceil((window.innerHeight - top) / height / OVERSCAN + 1);
    return [Math.min(many, Math.max(0, first)), Math.max(0, Math.min(many, last))];
  }

  /** Shows what is seen; called again for what changes with the time alone. */
  draw() {
    const [first, last] = this.#range();
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    Object.assign(this, { first, last });
    const wanted = new Set();
    let place = this.top.nextSibling;
    for (let index = first; index < last; index += 1) {
      const row = this.sorted[index];
      wanted.add(row.id);
      let line = this.shown.get(row.id);
      if (!line) this.shown.set(row.id, line = this.#line(row));
      if (line === place) place = line.nextSibling;
      else this.body.insertBefore(line, place);
      if (line.index !== index) line.setAttribute("aria-rowindex", (line.index = index) + 2);
      this.#fill(line, row);
    }
    for (const [key, line] of this.shown) {
      if (!wanted.has(key)) { line.remove(); this.shown.delete(key); }
    }
    const moved = focused?.isConnected && document.activeElement !== focused; // with its row
    if (moved) focused.focus({ preventScroll: true });
    const some = this.top.nextSibling;
    // Asked once: it makes the browser lay all out.
    if (some !== this.bottom && !this.height) this.height = some.getBoundingClientRect().height;
    this.top.firstChild.style.height = `${first * this.height}px`;
    this.bottom.firstChild.style.height = `${(this.sorted.length - last) * this.height}px`;
    this.top.hidden = first === 0;
    this.bottom.hidden = last === this.sorted.length;
    this.table.setAttribute("aria-rowcount", this.sorted.length + 1);
    this.table.hidden = this.element.firstChild.hidden = this.sorted.length === 0;
    this.empty.hidden = this.sorted.length !== 0;
    if (this.select) {
      const many = this.able?.size || 0;
      this.all.disabled = many === 0;
      this.all.checked = many > 0 && this.selected.size === many;
      this.all.indeterminate = this.selected.size > 0 && this.selected.size < many;
    }
  }

  #line(row) {
    const line = h("tr", { role: "row", data: { key: row.id } });
    if (this.select) {
      const box = h("input", { type: "checkbox", "aria-label": `Select ${this.select.name(row)}`, on: { change: () => {
        if (box.checked) this.selected.add(row.id); else this.selected.delete(row.id);
        this.select.changed(this.selected);
        this.draw();
      } } });
      line.box = box;
      line.append(h("td", { role: "cell", class: "c-select" }, box));
    }
    line.cells_ = this.columns.map((column) => {
      const cell = h("td", { role: "cell", class: classesOf(column), data: { label: column.short || column.label } });
      line.append(cell);
      return cell;
    });
    if (this.href) line.classList.add("leads");
    return line;
  }

  #fill(line, row) {
    line.row = row;
    const mark = this.mark?.(row) || "";
    if (line.mark !== mark) {
      if (line.mark) line.classList.remove(line.mark);
      if (mark) line.classList.add(mark);
      line.mark = mark;
    }
    this.columns.forEach((column, index) => {
      const cell = line.cells_[index];
      const text = column.text(row);
      if (cell.text === text) return;
      cell.text = text;
      const focused = cell.contains(document.activeElement);
      if (column.draw) column.draw(cell, row, text);
      else cell.textContent = text;
      if (focused) (cell.querySelector("a") || line.querySelector("a"))?.focus({ preventScroll: true });
    });
    if (line.box) {
      const can = this.able.has(row.id);
      line.box.disabled = !can;
      line.box.checked = this.selected.has(row.id);
      line.classList.toggle("selected", line.box.checked);
    }
  }

  #clicked(event) {
    if (!this.href || event.target.closest("a, button, input, label, .c-select")
      || String(window.getSelection())) return;
    const line = event.target.closest("tr");
    if (line?.row) location.hash = this.href(line.row);
  }
}
