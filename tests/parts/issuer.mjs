// An OpenID provider on loopback for the tests: the certified `oidc-provider`, with the people of the tests as clients.
//
//   GET  /.well-known/openid-configuration, /jwks     as every issuer has them
//   POST /token   grant_type=client_credentials, client_id, client_secret, resource=<audience>
//                 lifetime=<seconds>  (ours) how long this token lives; negative: it ended that long ago
//                 roles=<word word>   (ours) the roles of this token, for the client `guest`
//                 subject=<word>      (ours) whose token it is, for the client `guest`
//                 resource=api://opaque gives a token that only this issuer can read; POST /token/revocation takes it back, and
//                 `asker`, by HTTP Basic, may ask what it is (introspection)
//                 client_assertion=<jwt>  for the client `federated`, which has no secret
//   the public client `hansard-cli`: authorization code with PKCE, device code, refresh tokens. Who sits before the browser
//                 is in its header x-person; `refuser` is let in by nobody.
//   POST /test/lifetimes?access=<seconds>&refresh=<seconds>   (ours) how long what people get from now on lives
//   POST /test/logout?person=<name>&sid=<sid>&at=<https url>   (ours) has the provider tell that somebody has logged out, to the
//                 public client, whose address that is; the body is the certificate that the address shows. Answers what came.
//   POST /test/sign?typ=<typ>   (ours) a token with the claims in the body, signed with the key that signs now
//   POST /test/rotate   (ours) a new signing key; the old ones stay in the key set
//   POST /test/forget   (ours) a new signing key; the old ones leave the key set
//
// Prints `ready <issuer>` on standard output once it answers.
import { createServer } from 'node:http';
import { request as ask } from 'node:https';
import { createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import Provider from 'oidc-provider';

const SECRET = 'only-for-tests';
const LIFETIME_SECONDS = 3600;
const CLI = 'hansard-cli';
const lifetimes = { access: LIFETIME_SECONDS, refresh: 24 * 3600 };
const person = (name, roles, groups) => ({
  sub: `u-${name.split(' ')[0].toLowerCase()}`,
  name,
  preferred_username: name.split(' ')[0].toLowerCase(),
  email: `${name.split(' ')[0].toLowerCase()}@example.org`,
  roles,
  groups,
});
const CLIENTS = {
  ana: person('Ana Analyst', ['analyst'], ['reporting']),
  dev: person('Dev Developer', ['developer'], ['engineering']),
  dora: person('Dora Admin', ['dba'], ['engineering', 'on-call']),
  nobody: person('Nobody Special', [], []),
  robot: { sub: 'svc-robot', name: 'nightly-load', roles: ['workload'], groups: [] },
  guest: person('Guest Visitor', [], []),
  federated: { sub: 'svc-federated', name: 'federated', roles: ['workload'], groups: [] },
};

const bySubject = (sub) => Object.values(CLIENTS).find((person) => person.sub === sub);

const newKey = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
};

const asThemselves = Object.keys(CLIENTS).filter((name) => name !== 'federated').map((client_id) => ({
  client_id,
  client_secret: SECRET,
  grant_types: ['client_credentials'],
  token_endpoint_auth_method: 'client_secret_post',
  redirect_uris: [],
  response_types: [],
}));
// Asks what tokens are that only this issuer can read.
const asker = {
  client_id: 'asker',
  client_secret: SECRET,
  token_endpoint_auth_method: 'client_secret_basic',
  grant_types: [],
  redirect_uris: [],
  response_types: [],
};
const OPAQUE = 'api://opaque';
// The client `federated` has no secret: it is known by what somebody else signed for it, here the provider itself (/test/sign).
const byAssertion = (keys) => ({
  client_id: 'federated',
  grant_types: ['client_credentials'],
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: keys.map(({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg })) },
  redirect_uris: [],
  response_types: [],
});
// Where the public client is told of a logout: the provider is led from here to where the test says.
const LOGOUT = 'https://hansard.example/logout';
let toldAt;
const forPeople = {
  client_id: CLI,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/back'],
  backchannel_logout_uri: LOGOUT,
  backchannel_logout_session_required: true,
};

function fetchByWay(url, { dispatcher, ...options }) {
  if (String(url) !== LOGOUT) return globalThis.fetch(url, options);
  return new Promise((resolve, reject) => {
    const { method, headers, body } = options;
    const asked = ask(toldAt.url, { method, headers: Object.fromEntries(new Headers(headers)), ca: toldAt.ca }, (answer) => {
      answer.resume().on('end', () => resolve(new Response(null, { status: answer.statusCode })));
    });
    asked.on('error', reject);
    asked.end(String(body));
  });
}

const bodyOf = async (request) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

// What the tests ask for beside what every issuer does.
async function toldToTest(request) {
  const { pathname, searchParams } = new URL(request.url, issuer);
  const body = await bodyOf(request);
  if (pathname === '/test/sign') {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const typ = searchParams.get('typ');
    const header = { alg: 'RS256', kid: keys[0].kid, ...(typ ? { typ } : {}) };
    const text = `${part(header)}.${part(JSON.parse(body))}`;
    const signature = sign('RSA-SHA256', Buffer.from(text), createPrivateKey({ key: keys[0], format: 'jwk' }));
    return `${text}.${signature.toString('base64url')}`;
  }
  toldAt = { url: searchParams.get('at'), ca: body };
  const client = await op.Client.find(CLI);
  try {
    await client.backchannelLogout(CLIENTS[searchParams.get('person')].sub, searchParams.get('sid') ?? undefined);
    return 'told';
  } catch (error) {
    return `${error.message}`;
  }
}

function provider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [...asThemselves, byAssertion(keys), forPeople, asker],
    scopes: ['openid', 'offline_access', 'profile'],
    claims: { profile: ['name', 'preferred_username'] },
    ttl: { RefreshToken: () => lifetimes.refresh },
    interactions: { url: (ctx, interaction) => `/test/interaction/${interaction.uid}` },
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => bySubject(sub) }),
    fetch: fetchByWay,
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'asker' },
      revocation: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: resource === OPAQUE ? 'opaque' : 'jwt',
          accessTokenTTL: lifetimes.access,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (ctx, token) =>
      token.aud === OPAQUE ? { person: CLIENTS[token.clientId].sub, ...CLIENTS[token.clientId], sub: undefined } : undefined,
    formats: {
      customizers: {
        jwt(ctx, token, { payload }) {
          Object.assign(payload, token.clientId === CLI ? bySubject(token.accountId) : CLIENTS[token.clientId]);
          if (token.clientId === CLI) return;
          if (token.clientId === 'guest') {
            payload.roles = (ctx.oidc.body?.roles ?? '').split(' ');
            payload.sub = ctx.oidc.body?.subject ?? payload.sub;
          }
          const lifetime = Number(ctx.oidc.body?.lifetime ?? LIFETIME_SECONDS);
          const now = Math.floor(Date.now() / 1000);
          payload.exp = now + lifetime;
          if (lifetime < 0) payload.iat = payload.exp - LIFETIME_SECONDS;
        },
      },
    },
  });
}

// Signs in whoever sits before the browser, and consents to everything.
async function interact(request, response) {
  const { prompt, params, session, grantId } = await op.interactionDetails(request, response);
  const person = request.headers['x-person'];
  const finish = (result) => op.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  if (person === 'refuser') return finish({ error: 'access_denied', error_description: 'not you' });
  if (prompt.name === 'login') return finish({ login: { accountId: CLIENTS[person].sub } });
  const grant = grantId
    ? await op.Grant.find(grantId)
    : new op.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return finish({ consent: { grantId: await grant.save() } });
}

const server = createServer((request, response) => {
  if (request.url.startsWith('/test/interaction/')) {
    interact(request, response).catch((error) => response.writeHead(500).end(`${error}`));
    return;
  }
  if (request.method === 'POST' && request.url.startsWith('/test/lifetimes?')) {
    for (const [name, value] of new URL(request.url, issuer).searchParams) lifetimes[name] = Number(value);
    response.writeHead(204, { connection: 'close' }).end();
    return;
  }
  if (request.method === 'POST' && /^\/test\/(sign|logout)\?/.test(request.url)) {
    toldToTest(request).then(
      (text) => response.writeHead(200, { connection: 'close' }).end(text),
      (error) => response.writeHead(500).end(`${error}`),
    );
    return;
  }
  if (request.method === 'POST' && request.url.startsWith('/test/')) {
    keys = request.url === '/test/rotate' ? [newKey(), ...keys] : [newKey()];
    take(provider(issuer, keys));
    response.writeHead(204, { connection: 'close' }).end();
    return;
  }
  answer(request, response);
});
let keys = [newKey()];
let issuer;
let op;
let answer;
const take = (made) => {
  op = made;
  answer = made.callback();
};
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  take(provider(issuer, keys));
  console.log(`ready ${issuer}`);
});
