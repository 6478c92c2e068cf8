-- On for how many of 20,000 users, who all meet the conditions of bench.conditions.
prepare decide_many (text) as
select count(*) filter (where evaluate_flag($1, asked.context) ->> 'variant' = 'on')
from (
    select jsonb_build_object(
        'user', md5(n::text)::uuid,
        'country', (array['AT', 'CH', 'DE', 'FR', 'IT', 'NL'])[1 + n % 6],
        'app_version', format('%s.%s.%s', 3 + n % 2, n % 10, n % 3),
        'age', 18 + n % 60
    ) as context
    from generate_series(1, 20000) as n
    offset 0
) as asked
