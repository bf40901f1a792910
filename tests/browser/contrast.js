// How well each text of the page can be read: its colour against what lies behind it, as WCAG 2 counts it.
// -> {texts: how many, poor: [[ratio, text, colour, ground]]}, below `root`, a selector; what is disabled is left out.

(root) => {
  const parts = (text) => {
    const [r, g, b, a = 1] = /rgba?\(([^)]+)\)/.exec(text)[1].split(/[\s,/]+/).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, index) => value * a + under[index] * (1 - a));
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  /** What lies behind the text of an element: all layers down to one that nothing shines through. */
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.backgroundImage.startsWith("linear-gradient")) layers.push(parts(style.backgroundImage));
      layers.push(parts(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const poor = [];
  let texts = 0;
  const judge = (element, text, colour) => {
    const behind = ground(element);
    const [r, g, b, a] = parts(colour);
    let opacity = a;
    for (let each = element; each; each = each.parentElement) opacity *= Number(getComputedStyle(each).opacity);
    const shown = over([r, g, b, opacity], behind);
    texts += 1;
    const found = ratio(shown, behind);
    if (found < 4.5) poor.push([Math.round(found * 100) / 100, text.slice(0, 40), shown.map(Math.round).join(), behind.map(Math.round).join()]);
  };
  const walker = document.createTreeWalker(document.querySelector(root), NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, noscript, :disabled, option, .visually-hidden, .skip")) continue;
    if (element.getClientRects().length) judge(element, node.data.trim(), getComputedStyle(element).color);
  }
  for (const field of document.querySelector(root).querySelectorAll("input[placeholder]")) {
    if (field.getClientRects().length) judge(field, field.placeholder, getComputedStyle(field, "::placeholder").color);
  }
  // The names on the timeline's bars are painted, not laid out.
  const tint = (name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    const colour = parts(getComputedStyle(probe).color);
    probe.remove();
    return colour;
  };
  if (document.querySelector("canvas")) {
    for (const [bar, ink] of [["good", "bar"], ["active", "bar"], ["warn", "bar"], ["bad", "bad"]]) {
      texts += 1;
      const found = ratio(tint(`--${bar}-bar`), tint(`--on-${ink}`));
      if (found < 4.5) poor.push([Math.round(found * 100) / 100, `a name on a bar: ${bar}`, "", ""]);
    }
  }
  return { texts, poor };
}
