-- A call that the database has forgotten may still ring, and nobody knows whom. So no account dials before the calls of all
-- were compared, or can have lasted: the person whom one account rings may be the next lead of another.

alter table reconciliation add column calls_over_at timestamptz;
update reconciliation set calls_over_at = noted_at + interval '4 hours';
alter table reconciliation alter column calls_over_at set not null;
comment on column reconciliation.calls_over_at is 'Civil time; what was lost has ended by then. Until then no account dials, whichever was compared.';

alter table reconciliation add column given_up boolean not null default false;
comment on column reconciliation.given_up is 'The provider''s calls could not be compared: the account was stopped, and the row goes when that stop is lifted.';

create function reconciliation_looked_at() returns trigger language plpgsql as $$
begin
    delete from reconciliation r using lifted l where r.account = l.account and r.given_up;
    return null;
end
$$;
comment on function reconciliation_looked_at() is 'Whoever starts an account that was stopped for them to look at its calls has looked.';
create trigger stop_order_looked_at after delete on stop_order referencing old table as lifted
    for each statement execute function reconciliation_looked_at();
