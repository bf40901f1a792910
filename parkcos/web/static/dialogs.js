// Questions to the person, such as the confirmation of what cannot be taken back.

import { h, keepFocus, setText } from "./dom.js";

let last = 0;

/** Opens a dialog with a form; submit() does what is asked for, and may throw what is then shown. */
export function ask({ title, body, action, tone = "primary", submit }) {
  const id = `dialog-${last += 1}`;
  const opener = document.activeElement;
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: tone }, action);
  const cancel = h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel");
  const form = h("form", { method: "dialog" }, h("h2", { id }, title), body, problem,
    h("div", { class: "choices" }, cancel, go));
  const dialog = h("dialog", { "aria-labelledby": id }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await submit();
      dialog.close();
    } catch (error) {
      setText(problem, error.message);
      problem.hidden = false;
    }
    go.disabled = false;
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    keepFocus(opener);
  });
  document.body.append(dialog);
  dialog.showModal();
  (tone === "danger" ? cancel : form.querySelector("input, button")).focus();
}

/** choices: [[value, label, note]]: of which one is taken; submit(value) does it, and may throw what is then shown. */
export function confirm({ title, text, names = [], choices = [], action, submit }) {
  const radios = choices.map(([value, label, note], index) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "how", value, checked: index === 0 }),
    h("span", {}, h("strong", {}, label), h("small", {}, note))));
  const body = [h("p", {}, text),
    names.length ? h("ul", { class: "names" }, names.slice(0, 5).map((name) => h("li", {}, name)),
      names.length > 5 ? h("li", { class: "faint" }, `and ${names.length - 5} more`) : null) : null,
    radios.length ? h("fieldset", {}, h("legend", { class: "visually-hidden" }, "How"), radios) : null];
  ask({ title, body, action, tone: "danger", submit: () =>
    submit(radios.map((label) => label.firstChild).find((radio) => radio.checked)?.value) });
}
