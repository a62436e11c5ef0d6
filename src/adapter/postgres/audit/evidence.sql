-- Everything sent on the same evidence was judged in the same minute of the same calendar, so the first and the last of
-- them speak for all between them.
select evidence as "evidence!", min(intent_at) as "first_intent_at!", max(intent_at) as "last_intent_at!",
    min(sent_at) as "first_sent_at!", max(sent_at) as "last_sent_at!"
from attempt
where intent_at >= $1 and sent_at is not null
    -- What was judged for these went with what the database lost.
    and evidence <> 'found in the provider''s list'
group by evidence
