// Making elements.  Text of the traced program goes in as text, never as markup.

/** Make an element: element("td", {class: "n", "data-v": 3}, "three", other). */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("aria-")) made.setAttribute(key, String(value));
    else if (value === false) continue;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((one) => one !== undefined && one !== null));
  return made;
}

/** A button whose words follow the language: `key` names them, `sign` is shown if given. */
export function button(report, key, onclick, sign) {
  const made = element("button", { type: "button", onclick });
  const speak = () => {
    made.textContent = sign ?? report.word(key);
    made.title = report.word(key);
    made.setAttribute("aria-label", report.word(key));
  };
  report.on("language", speak);
  speak();
  return made;
}

/** A link that moves the cursor to an event. */
export function eventLink(seq) {
  return element("a", { href: `#e=${seq}` }, `#${seq}`);
}

/** Microseconds as people read them: 12.3 µs, 4.56 ms, 1.20 s. */
export function duration(us) {
  if (us < 1000) return `${us.toPrecision(3)} µs`;
  return us < 1e6 ? `${(us / 1e3).toPrecision(3)} ms` : `${(us / 1e6).toFixed(2)} s`;
}
