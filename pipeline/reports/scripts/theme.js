// Light or dark: as the system says, until the button says otherwise. Links to parts of the page scroll, and
// leave the fragment to the state.

const themeButton = document.getElementById("theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const theme = choice("theme");
  return theme ? theme === "dark" : systemIsDark.matches;
}

function applyTheme() {
  const theme = choice("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  themeButton.textContent = isDark() ? "Light" : "Dark";
}

themeButton.addEventListener("click", () => {
  choose("theme", isDark() ? "light" : "dark");
  applyTheme();
});
systemIsDark.addEventListener("change", applyTheme);
onStateRead(applyTheme);
applyTheme();

for (const link of document.querySelectorAll('nav a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    const part = document.getElementById(link.getAttribute("href").slice(1));
    if (!part) return;
    event.preventDefault();
    part.scrollIntoView({ behavior: "smooth" });
    part.tabIndex = -1; // Tab goes on from there
    part.focus({ preventScroll: true });
  });
}
