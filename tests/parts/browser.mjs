// A browser without a screen, in front of which a person of the tests sits: it keeps cookies, follows redirects, and sends
// off every form as it is, until a page has none.
//
// usage: browser.mjs PERSON URL      prints the last page
const [person, start] = process.argv.slice(2);
const jar = new Map();

const step = async (url, form) => {
  const origin = new URL(url).origin;
  const cookie = [...(jar.get(origin) ?? new Map())].map(([name, value]) => `${name}=${value}`).join('; ');
  const response = await fetch(url, {
    method: form ? 'POST' : 'GET',
    body: form,
    redirect: 'manual',
    headers: { cookie, 'x-person': person, accept: 'text/html' },
  });
  for (const line of response.headers.getSetCookie()) {
    const [name, value] = line.split(';', 1)[0].split(/=(.*)/s);
    if (!jar.has(origin)) jar.set(origin, new Map());
    jar.get(origin).set(name, value);
  }
  return response;
};

const attribute = (tag, name) => tag.match(new RegExp(`\\s${name}="([^"]*)"`))?.[1]?.replaceAll('&amp;', '&');

let [url, form] = [start, undefined];
for (let steps = 0; steps < 20; steps += 1) {
  const response = await step(url, form);
  const location = response.headers.get('location');
  if (location) {
    [url, form] = [new URL(location, url).href, undefined];
    continue;
  }
  const page = await response.text();
  const written = page.match(/<form[^]*?<\/form>/)?.[0];
  if (!written) {
    console.log(page);
    process.exit(response.ok ? 0 : 1);
  }
  form = new URLSearchParams();
  for (const input of written.match(/<input[^>]*>/g) ?? []) {
    if (attribute(input, 'name')) form.set(attribute(input, 'name'), attribute(input, 'value') ?? '');
  }
  url = new URL(attribute(written.match(/<form[^>]*>/)[0], 'action') ?? url, url).href;
}
console.error('the browser is led in circles');
process.exit(1);
