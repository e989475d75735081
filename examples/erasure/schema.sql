-- What the statements of routes.yaml are about: a shop app's own tables, and one that remembers which deliveries were done.
CREATE TABLE customers (shop text NOT NULL, id bigint NOT NULL, name text NOT NULL, email text, PRIMARY KEY (shop, id));
CREATE TABLE notes (shop text NOT NULL, customer bigint NOT NULL, text text NOT NULL);
CREATE TABLE orders (shop text NOT NULL, id bigint NOT NULL, customer bigint, ship_to text, total numeric NOT NULL, PRIMARY KEY (shop, id));
CREATE TABLE tokens (shop text NOT NULL, token text NOT NULL);
CREATE TABLE erasures (delivery text PRIMARY KEY, shop text NOT NULL, customer bigint, why text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);

INSERT INTO customers VALUES ('vases.example', 191167, 'Ann Jansen', 'ann@example.com'), ('vases.example', 7, 'Bob Smit', 'bob@example.com'),
    ('mills.example', 191167, 'Cas Bakker', 'cas@example.com');
INSERT INTO notes VALUES ('vases.example', 191167, 'likes blue'), ('vases.example', 191167, 'call after five'), ('vases.example', 7, 'pays late');
INSERT INTO orders VALUES ('vases.example', 1, 191167, 'Ann Jansen, Dam 1', 12.10), ('vases.example', 2, 191167, 'Ann Jansen, Dam 1', 30.00),
    ('vases.example', 3, 191167, 'Ann Jansen, Dam 1', 7.00), ('vases.example', 4, 7, 'Bob Smit, Kade 2', 99.00), ('mills.example', 1, 191167, 'Cas Bakker, Wal 3', 5.00);
INSERT INTO tokens VALUES ('vases.example', 'made-up-token-1'), ('mills.example', 'made-up-token-2');
