// The report that all panels share: its data, the cursor, the language, and who listens to what.

/** Inflate a part of the page: gzip in base 64, JSON inside. */
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

export class Report {
  constructor(parts) {
    this.data = parts;
    this.words = parts.words;
    this.events = parts.events.events;
    this.hooks = parts.events.hooks;
    this.calls = new Map(parts.events.calls.map((one) => [one.id, one]));
    this.cursor = null;
    this.horizon = Infinity; // no later event is shown
    this.listeners = new Map();
    this.places = new Map(this.events.map((one, place) => [one.seq, place]));
    this.language = document.documentElement.lang || "en";
    for (const one of this.events) one.text ??= this.brief(one);
  }

  /** What an event is, where the page has no words for it: its hook and its call by name. */
  brief(event) {
    const hook = this.hooks[event.hook];
    const call = this.calls.get(event.call);
    const parts = [hook && `${hook.kind} ${hook.name} on ${hook.owner}`, call && `${call.name}@${call.index} ${call.type}`];
    return [...parts, event.tensor, event.raised].filter(Boolean).join("  ");
  }

  /** The event of this number, or undefined. */
  at(seq) {
    return this.events[this.places.get(seq)];
  }

  /** The event at the cursor, or undefined. */
  get event() {
    return this.at(this.cursor);
  }

  /** Call `listener` whenever `what` changes: "cursor", "horizon", "language", "playing". */
  on(what, listener) {
    if (!this.listeners.has(what)) this.listeners.set(what, []);
    this.listeners.get(what).push(listener);
  }

  tell(what, ...values) {
    for (const listener of this.listeners.get(what) ?? []) listener(...values);
  }

  /** Show no event after this one; Infinity shows all. */
  hide(after) {
    this.horizon = after;
    this.tell("horizon", after);
  }

  /** Move the cursor to an event; numbers that are none, or are hidden, are ignored. */
  go(seq) {
    if (!this.places.has(seq) || seq === this.cursor || seq > this.horizon) return false;
    this.cursor = seq;
    this.tell("cursor", this.event);
    return true;
  }

  /** Move by so many events, or from firing to firing. */
  step(by, firings = false) {
    let place = this.places.get(this.cursor) ?? (by > 0 ? -1 : this.events.length);
    do place += by;
    while (firings && this.events[place] && this.events[place].kind !== "hook");
    const found = this.events[place];
    return found ? this.go(found.seq) : false;
  }

  speak(language) {
    this.language = language;
    document.documentElement.lang = language;
    this.tell("language", language);
  }

  /** Interface text in the reader's language, with {names} filled in. */
  word(key, values = {}) {
    const text = this.words[this.language]?.[key] ?? this.words.en[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  }
}

/** Read the data out of the page. */
export async function readReport() {
  const parts = {};
  for (const one of document.querySelectorAll("script[data-part]")) {
    parts[one.dataset.part] = await inflate(one.textContent.trim());
  }
  return new Report(parts);
}
