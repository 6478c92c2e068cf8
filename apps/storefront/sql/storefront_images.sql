-- Images of enterprises' storefronts. Which one is shown is configuration (`storefront.logo`), so
-- that a change of it is versioned and can be taken back; an image itself never changes.

create table public.storefront_images (
    id uuid primary key default uuidv7(),
    enterprise_id uuid not null references public.enterprises (id) on delete cascade,
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    -- always PNG: whatever was uploaded is drawn anew
    content bytea not null,
    created_at timestamptz not null default now(),
    unique (enterprise_id, digest),
    unique (enterprise_id, id)
);

select public.enable_tenant_isolation('public.storefront_images');

grant select on public.storefront_images to layoverhq_app;
grant select, insert, delete on public.storefront_images to layoverhq_operator;

select public.enable_audit('public.storefront_images', redacted => '{content}');
