-- Storefronts know airports by more than their zones: names, cities and where they lie.
select public.feed_snapshot('public.airports', 'places');
