"use strict";
// Keeps a page as the dashboard would show it now. Text of events enters as text nodes; parts of
// pages are taken from the pages themselves, which the server makes.
(() => {
  const sql = document.getElementById("sql");
  if (sql) {
    sql.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) sql.form.requestSubmit();
    });
  }
  const main = document.querySelector("main[data-feed]");
  if (!main) return;
  const state = document.getElementById("connection");
  const pause = document.getElementById("pause");
  const announce = document.getElementById("announce");
  const list = document.getElementById("events");
  const MOST = 500;
  let place = main.dataset.place;
  let source = null;
  let timer = 0;
  let asking = false;
  let again = false;
  let rest = 300;
  let over = false;
  let paused = false;
  let asked = document.querySelectorAll(".question").length;

  function say(name, text) {
    state.dataset.state = name;
    if (state.textContent !== text) state.textContent = text;
  }

  // --- events --------------------------------------------------------------------------------

  function part(name, text, kind) {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function happened(told) {
    if (!list) return;
    const low = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const line = document.createElement("li");
    if (told.bad) line.className = "bad";
    const parts = [part("time", told.time), part("b", told.kind), part("span", told.agent)];
    parts.push(part("span", told.what), part("span", told.outcome), part("span", told.detail, "soft"));
    for (const each of parts) line.append(each, " ");
    list.append(line);
    while (list.children.length > MOST) list.firstElementChild.remove();
    if (low) list.scrollTop = list.scrollHeight;
  }

  // --- the page ------------------------------------------------------------------------------

  function key(node) {
    return node.nodeType === 1 ? node.id || node.dataset.key || "" : "";
  }

  function patch(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || key(old) !== key(fresh)) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    patchInside(old, fresh);
  }

  function patchInside(old, fresh) {
    const keyed = new Map();
    for (const child of old.children) if (key(child)) keyed.set(key(child), child);
    let at = old.firstChild;
    for (const child of fresh.childNodes) {
      const known = keyed.get(key(child));
      if (known && known !== at) {
        old.insertBefore(known, at);
        patch(known, child);
      } else if (!at || (!known && key(child))) {
        old.insertBefore(document.importNode(child, true), at);
      } else {
        const next = at.nextSibling;
        patch(at, child);
        at = next;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function taken(page) {
    const scrolled = list ? list.scrollTop : 0;
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh) patch(part, fresh);
    }
    if (list) list.scrollTop = scrolled;
    const waiting = document.querySelectorAll(".question").length;
    if (waiting !== asked) {
      announce.textContent = waiting === 1 ? "One question waits for an answer." : `${waiting} questions wait for an answer.`;
      asked = waiting;
    }
    document.title = (waiting ? `(${waiting}) ` : "") + page.title;
    if (!page.querySelector("main[data-feed]")) {
      over = true;
      if (source) source.close();
      say("off", "The run has ended");
      pause.hidden = true;
      announce.textContent = "The run has ended.";
    }
  }

  function refresh() {
    if (timer || over || paused) return;
    timer = window.setTimeout(ask, rest);
  }

  function ask() {
    timer = 0;
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    const began = performance.now();
    const request = new XMLHttpRequest();
    request.open("GET", window.location.pathname);
    request.responseType = "document";
    request.timeout = 30000;
    request.onload = () => {
      if (request.status === 200 && request.response) taken(request.response);
      else if (request.status === 401) say("off", "The dashboard was started anew: enter its token");
    };
    request.onloadend = () => {
      asking = false;
      rest = Math.min(5000, Math.max(300, 4 * (performance.now() - began)));
      if (again) {
        again = false;
        refresh();
      }
    };
    request.send();
  }

  // --- the connection ------------------------------------------------------------------------

  function open() {
    if (source || over || paused) return;
    source = new EventSource(`${main.dataset.feed}after=${encodeURIComponent(place)}`);
    source.onopen = () => say("live", "Live");
    source.onerror = () => {
      const gone = source.readyState === EventSource.CLOSED;
      say("lost", gone ? "The connection is refused: enter the token again" : "The connection is lost; trying again");
    };
    source.addEventListener("happened", (event) => happened(JSON.parse(event.data)));
    source.addEventListener("missed", () => {
      if (list) list.append(part("li", "Some events in between are not shown.", "soft"));
    });
    source.addEventListener("changed", (event) => {
      place = event.lastEventId || place;
      refresh();
    });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) {
      close();
      say("off", "Paused");
    } else open();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  window.setInterval(() => {
    if (source && !document.hidden) refresh(); // time goes by, if nothing else does
  }, 5000);
  say("off", "Connecting");
  if (list) list.scrollTop = list.scrollHeight;
  open();
})();
