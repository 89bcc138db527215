-- Names are compared byte by byte, as the program does.
create table boards (
    id text collate "C" primary key,
    title text not null,
    edit text not null check (edit in ('all', 'own')),
    created bigint not null,
    owner text collate "C" not null
);

create table members (
    board text collate "C" not null references boards on delete cascade,
    user_id text collate "C" not null,
    role text not null check (role in ('viewer', 'editor', 'teacher')),
    primary key (board, user_id)
);
create index members_boards on members (user_id, board);

create table invites (
    code text collate "C" primary key,
    board text collate "C" not null references boards on delete cascade,
    role text not null check (role in ('viewer', 'editor', 'teacher')),
    expires bigint not null
);
create index invites_of_board on invites (board, code);

create table visits (
    user_id text collate "C" not null,
    board text collate "C" not null references boards on delete cascade,
    at bigint not null,
    primary key (user_id, board)
);
create index visits_of_board on visits (board);

-- The contents lie in the object store under their hashes. No reference to boards: who deletes one looks here for the
-- contents that nobody uses any more.
create table assets (
    board text collate "C" not null,
    sha256 text collate "C" not null,
    mime_type text not null,
    width bigint,
    height bigint,
    uploaded bigint not null,
    primary key (board, sha256)
);
create index assets_boards on assets (sha256);

-- `kind` says what `name` names: one token, or a person all of whose tokens so far are meant.
create table revocations (
    kind text not null check (kind in ('token', 'user')),
    name text not null,
    at bigint not null,
    until bigint not null,
    primary key (kind, name)
);
