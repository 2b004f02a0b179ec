// An OpenID provider on loopback for the tests: the certified `oidc-provider`, with the people of the tests as clients.
//
//   GET  /.well-known/openid-configuration, /jwks     as every issuer has them
//   POST /token   grant_type=client_credentials, client_id, client_secret, resource=<audience>
//                 lifetime=<seconds>  (ours) how long this token lives; negative: it ended that long ago
//                 roles=<word word>   (ours) the roles of this token, for the client `guest`
//                 subject=<word>      (ours) whose token it is, for the client `guest`
//   POST /test/rotate   (ours) a new signing key; the old ones stay in the key set
//   POST /test/forget   (ours) a new signing key; the old ones leave the key set
//
// Prints `ready <issuer>` on standard output once it answers.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const SECRET = 'only-for-tests';
const LIFETIME_SECONDS = 3600;
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
};

const newKey = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
};

function provider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: Object.keys(CLIENTS).map((client_id) => ({
      client_id,
      client_secret: SECRET,
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'client_secret_post',
      redirect_uris: [],
      response_types: [],
    })),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: LIFETIME_SECONDS,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    formats: {
      customizers: {
        jwt(ctx, token, { payload }) {
          Object.assign(payload, CLIENTS[token.clientId]);
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
  }).callback();
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url.startsWith('/test/')) {
    keys = request.url === '/test/rotate' ? [newKey(), ...keys] : [newKey()];
    answer = provider(issuer, keys);
    response.writeHead(204, { connection: 'close' }).end();
    return;
  }
  answer(request, response);
});
let keys = [newKey()];
let issuer;
let answer;
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  answer = provider(issuer, keys);
  console.log(`ready ${issuer}`);
});
