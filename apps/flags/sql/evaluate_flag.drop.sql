drop function public.is_feature_enabled(text, uuid, uuid);
drop function public.evaluate_flag(text, jsonb, integer);
drop function public.flag_rule_answer(
    public.feature_flags, jsonb, text, jsonb, integer, text, jsonb, text
);
drop function public.flag_in_namespace(public.feature_flags, text);
drop function public.flag_prerequisites_hold(public.feature_flags, jsonb, integer);
drop function public.flag_overridden(public.feature_flags, jsonb);
drop function public.flag_answer(public.feature_flags, text, text, text);
drop function public.flag_allocated(jsonb, text, text);
drop function public.flag_unit(jsonb, text);
