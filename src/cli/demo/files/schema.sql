-- The demo's database: a small clinic. Every name in it is invented.

CREATE SCHEMA clinic;
CREATE SCHEMA app;

CREATE TABLE clinic.patients (
    id      integer PRIMARY KEY,
    name    text NOT NULL,
    city    text NOT NULL,
    born    date NOT NULL
);

INSERT INTO clinic.patients (id, name, city, born)
SELECT n,
       (ARRAY['Alma', 'Bruno', 'Carla', 'Dario', 'Edda', 'Felix', 'Gina', 'Hugo'])[1 + n % 8] || ' '
           || (ARRAY['Abel', 'Brandt', 'Conti', 'Duval', 'Ek'])[1 + n % 5],
       (ARRAY['Aarhus', 'Bern', 'Cork'])[1 + n % 3],
       date '1940-01-01' + n * 617
FROM generate_series(1, 40) AS n;

CREATE TABLE clinic.visits (
    id      integer PRIMARY KEY,
    patient integer NOT NULL REFERENCES clinic.patients,
    day     date NOT NULL,
    doctor  text NOT NULL,
    reason  text NOT NULL
);

INSERT INTO clinic.visits (id, patient, day, doctor, reason)
SELECT n,
       1 + n * 7 % 40,
       date '2026-01-05' + n * 2,
       (ARRAY['Dr. Lindqvist', 'Dr. Moreau', 'Dr. Novak'])[1 + n % 3],
       (ARRAY['check-up', 'vaccination', 'sprain', 'cough'])[1 + n % 4]
FROM generate_series(1, 60) AS n;

CREATE TABLE app.orders (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item     text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    state    text NOT NULL DEFAULT 'open'
);

INSERT INTO app.orders (item, quantity, state)
SELECT (ARRAY['gloves', 'syringes', 'masks', 'plasters'])[1 + n % 4], 10 * n, CASE WHEN n % 3 = 0 THEN 'open' ELSE 'done' END
FROM generate_series(1, 24) AS n;
