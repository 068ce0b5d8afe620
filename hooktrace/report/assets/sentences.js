// What happened, as a title and a sentence, for every kind of event.
import { changeText, codeText, isolated, phrase, readable } from "./phrases.js";
import { element } from "./elements.js";
import { retoldPart } from "./retold.js";

/** The module of a call: features.0 (Conv2d). */
export function moduleText(call) {
  const type = call.name === call.type ? [] : [" (", isolated(call.type), ")"];
  return element("span", {}, isolated(call.name), ...type);
}

/** What the hook of an event is called: forward hook double on features.0. */
export function hookTitle(report, hook) {
  return phrase(report, "title_hook", {
    kind: kindWord(report, hook.kind),
    name: codeText(hook.name),
    owner: isolated(retoldPart(report, hook.owner)),
  });
}

export function kindWord(report, kind) {
  return report.word(`kind_${kind}`);
}

/** The words that a title or a sentence of this event may name. */
function wordsOf(report, event) {
  const call = report.calls.get(event.call);
  const hook = report.hooks[event.hook];
  const [before, after] = (event.rates ?? [[], []]).map((rates) => rates.map(readable).join(", "));
  return {
    module: call ? moduleText(call) : null,
    hook: hook ? element("span", {}, ...hookTitle(report, hook)) : null,
    tensor: event.tensor === undefined ? report.word("a_tensor") : codeText(event.tensor),
    node: event.node === undefined ? "" : codeText(event.node),
    run: event.backward === undefined ? "" : event.backward + 1,
    number: /\[(\d+)\]/.exec(event.role ?? "")?.[1] ?? "",
    optimizer: event.optimizer,
    what: event.written && retoldPart(report, event.written.what),
    by: event.written && retoldPart(report, event.written.by),
    scheduler: event.scheduler,
    before,
    after,
    roles: changedRoles(report, event),
  };
}

function changedRoles(report, event) {
  const told = (event.edits ?? []).filter((one) => one.kind !== "unchanged").map((one) => `${one.role} (${changeText(report, one)})`);
  return told.length > 4 ? `${told.slice(0, 4).join(", ")}, …` : told.join(", ");
}

/** The key of an event's words: its kind, or the case of it that the report tells. */
function keyOf(event) {
  return event.case ?? event.kind.replaceAll(" ", "_");
}

/** The title of an event, as nodes. */
export function titleOf(report, event) {
  const hook = report.hooks[event.hook];
  if (hook && event.kind === "hook") return hookTitle(report, hook);
  const key = `title_${event.kind.replaceAll(" ", "_")}`;
  const known = report.words.en[key] ? key : "title_other";
  const call = report.calls.get(event.call);
  const of = call ? moduleText(call) : event.tensor ?? event.node ?? event.optimizer ?? "";
  return [...phrase(report, known, { kind: event.kind }), of ? " · " : "", isolated(of)];
}

/** What happened, in a sentence, as nodes. */
export function sentenceOf(report, event) {
  return phrase(report, `what_${keyOf(event)}`, wordsOf(report, event));
}

/** What a kind of hook is, in a sentence. */
export function kindSentence(report, kind) {
  return report.word(`is_${kind}`);
}
