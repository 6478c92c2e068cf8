drop function public.learn_layover_preferences(
    uuid[], timestamptz, timestamptz, double precision, integer
);
drop function public.record_offer_choice(text, text, uuid, date, uuid[], boolean);
drop function public.offers_shown(uuid[], date);
delete from public.partition_policies where parent = 'offer_choices';
drop table public.offer_choices;
drop function public.are_shares(double precision[]);
