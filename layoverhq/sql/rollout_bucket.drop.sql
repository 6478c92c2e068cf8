drop function public.rollout_bucket(text, text);
