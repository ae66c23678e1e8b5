// Only what makes the pages quicker to use; everything works without it.
"use strict";
(() => {
  const every = (selector) => Array.from(document.querySelectorAll(selector));
  const rows = () => every("tr[data-row]");
  const boxes = () => every("#chosen input[name=id]");
  let at = -1;

  const tell = () => {
    const line = document.getElementById("selected");
    if (!line) return;
    const number = boxes().filter((box) => box.checked).length;
    line.textContent = number ? `${number} selected` : "";
    const all = document.getElementById("every");
    if (all) {
      all.checked = number > 0 && number === boxes().length;
      all.indeterminate = number > 0 && number < boxes().length;
    }
  };

  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    at = Math.min(list.length - 1, Math.max(0, at + step));
    list.forEach((row, number) => row.classList.toggle("at", number === at));
    list[at].scrollIntoView({ block: "nearest" });
    const link = list[at].querySelector("a");
    if (link) link.focus({ preventScroll: true });
  };

  const all = document.getElementById("every");
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      boxes().forEach((box) => { box.checked = all.checked; });
      tell();
    });
    let last = null;
    boxes().forEach((box) => box.addEventListener("click", (event) => {
      const list = boxes();
      if (event.shiftKey && last !== null) {
        const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b);
        list.slice(from, to + 1).forEach((one) => { one.checked = box.checked; });
      }
      last = box;
      tell();
    }));
    tell();
  }

  every("a[data-load]").forEach((link) => link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const place = document.getElementById(link.dataset.load);
    link.textContent = "Looking …";
    try {
      const answer = await fetch(link.href, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = page.getElementById(link.dataset.load);
      if (!answer.ok || !found) throw new Error(answer.statusText);
      place.replaceWith(document.adoptNode(found));
    } catch {
      window.location.assign(link.href);
    }
  }));

  // A link in a mail comes without the cookie, which is for pages of this place alone; asked from here it is sent.
  const next = document.querySelector("#sign-in input[name=next]");
  if (next) {
    fetch("/login?next=/static/icon.svg", { method: "HEAD", credentials: "same-origin" }).then((answer) => {
      if (answer.redirected && answer.url.endsWith("/static/icon.svg")) window.location.replace(next.value);
    }).catch(() => undefined);
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && typing) {
      typing.blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const current = rows()[at];
    const actions = {
      "/": () => document.getElementById("find")?.focus(),
      j: () => move(1),
      k: () => move(-1),
      o: () => current?.querySelector("td a")?.click(),
      x: () => {
        const box = current?.querySelector("input[name=id]");
        if (box) {
          box.checked = !box.checked;
          tell();
        }
      },
    };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
})();
