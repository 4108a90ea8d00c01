-- The public names of the catalogue: people, Datasette and scripts query these views, so their columns only ever grow.

create view lineage as
select
    generations.prompt,
    generations.job,
    generations.provider,
    generations.model,
    images.generation_id,
    copies.image_id,
    images.parent_image_id,
    generations.created_at,
    copies.confirmed_at as archived_at,
    copies.store,
    copies.key,
    copies.sha256,
    copies.size,
    images.content_type,
    images.width,
    images.height,
    generations.cost_micro / 1e6 / coalesce(
        generations.shares, (select count(*) from images as all_of_it where all_of_it.generation_id = generations.id)
    ) as cost_usd,
    images.revised_prompt,
    generations.tags,
    generations.size as requested_size,
    generations.parameters,
    generations.continues,
    images.role,
    (
        select json_group_array(json_object('sha256', inputs.sha256, 'image_id', inputs.image_id))
        from (select * from inputs where inputs.generation_id = generations.id order by position) as inputs
    ) as inputs
from copies
join images on images.id = copies.image_id
join generations on generations.id = images.generation_id
where copies.state = 'confirmed' and images.state <> 'forgotten';

create view at_risk as
select
    images.id as image_id,
    generations.prompt,
    generations.job,
    images.state,
    images.deadline,
    images.deadline_from,
    images.attempts,
    images.not_before,
    images.source,
    images.error
from images
join generations on generations.id = images.generation_id
where images.state = 'pending'
    and strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        >= strftime('%Y-%m-%dT%H:%M:%fZ', (julianday(images.created_at) + julianday(images.deadline)) / 2)
order by images.deadline;

create view spend as
select
    substr(generations.created_at, 1, 10) as day,
    generations.job,
    generations.provider,
    generations.model,
    generations.state,
    count(*) as generations,
    sum(generations.cost_micro) / 1e6 as cost_usd
from generations
where generations.origin <> 'backfill' and generations.submitted_at is not null
group by 1, 2, 3, 4, 5;

create view losses as
select
    images.id as image_id,
    images.generation_id,
    generations.prompt,
    generations.job,
    generations.provider,
    images.source,
    images.deadline,
    images.deadline_from,
    images.attempts,
    images.error,
    images.created_at
from images
join generations on generations.id = images.generation_id
where images.state = 'lost';
