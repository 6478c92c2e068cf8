drop table public.storefront_images;
