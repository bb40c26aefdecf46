-- catalog/actions: splits and dividends, and which security bore which symbol when.
--
-- Only an action that counts is ever applied.
create table actions (
    symbol varchar not null,
    -- the first session in new shares, or without the dividend
    session date not null,
    -- split or dividend
    kind varchar not null,
    id varchar not null,
    -- of a split: so many shares become so many
    split_from double,
    split_to double,
    -- prices and sizes before it times these are those after it
    price_factor double not null,
    size_factor double not null,
    -- it is used; else see problem
    counts boolean not null,
    problem varchar
);
create table securities (
    security varchar not null,
    symbol varchar not null,
    -- both inclusive; no last one: it still trades under the symbol
    first_session date not null,
    last_session date
);
