-- Which of 10,000 buckets a unit falls into: layoverhq.bucketing answers the same. Salted,
-- so that not the same units go first in every rollout.
create function public.rollout_bucket(salt text, unit text) returns integer
language sql immutable strict parallel safe
return (('x' || left(md5(salt || ':' || unit), 8))::bit(32)::bigint % 10000)::integer;
