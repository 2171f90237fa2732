// The page works without this. It keeps lists up to date, copies, and says that a slow receiver is awaited.
"use strict";

const live = async () => {
  const inside = document.activeElement?.closest("[data-live] form, [data-live] details");
  if (document.hidden || inside || !document.querySelector("[data-live]")) return;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const found = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
    if (found && found.innerHTML !== old.innerHTML && !old.querySelector("details[open], :focus")) {
      old.replaceChildren(...found.childNodes);
    }
  }
};
const quietly = () => live().catch(() => {});

const news = document.querySelector("[data-news]");
if (news) {
  let due = false;
  new EventSource(news.dataset.news).onmessage = () => {
    if (due) return;
    due = true;
    setTimeout(() => { due = false; quietly(); }, 200);
  };
} else {
  setInterval(quietly, 5000);
}

// A hidden page is not kept up to date.
document.addEventListener("visibilitychange", quietly);

document.documentElement.classList.add("scripted");
// On the document, since lists with buttons in them are replaced.
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    // Over plain http, browsers lend the clipboard to pages of their own machine only.
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: copy it with Ctrl-C";
  }
});

document.addEventListener("submit", ({ target, submitter }) => {
  if (target.method !== "post" || !submitter) return;
  submitter.textContent = submitter.dataset.busy || "Working…";
  setTimeout(() => { submitter.disabled = true; });
});
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

const here = new URL(location.href);
if (here.searchParams.delete("told") === undefined) history.replaceState(null, "", here);
