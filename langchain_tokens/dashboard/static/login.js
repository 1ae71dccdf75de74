// Who is there? The token goes to the server once, and never into an address that is sent.
import { change, Problem } from "./api.js";

const form = document.getElementById("login");
const problem = document.getElementById("problem");

async function log_in(token) {
  problem.hidden = true;
  try {
    await change("POST", "login", {}, {}, { token });
    location.replace("./");
  } catch (error) {
    problem.textContent = error instanceof Problem ? error.message : String(error);
    problem.hidden = false;
    form.elements.token.select();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  log_in(form.elements.token.value);
});

/** The link that the terminal prints has the token behind a #, which browsers keep to themselves. */
const token = decodeURIComponent(location.hash.slice(1));
if (token) {
  history.replaceState(null, "", location.pathname);
  log_in(token);
} else if ((await fetch("api/v1/status")).ok) {
  location.replace("./"); // somebody followed a link from elsewhere, and knows the token already
}
