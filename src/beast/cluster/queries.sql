-- Everything that the cluster room asks the database.

-- name: list_parameters
-- Lists of assets stand there for other programs; see beast.cluster.asset_lists.
SELECT name, value FROM application_parameters WHERE NOT starts_with(name, 'exchange_assets_') ORDER BY name;

-- name: delete_lists
DELETE FROM application_parameters WHERE starts_with(name, %(prefix)s) AND name <> ALL (%(kept)s::text[]);

-- name: set_parameters
INSERT INTO application_parameters (name, value, updated_at)
SELECT pair.key, pair.value, %(now)s FROM jsonb_each(%(values)s::jsonb) AS pair
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
WHERE application_parameters.value <> excluded.value;

-- name: seed_profile
-- Rows that the operator has changed stay.
INSERT INTO application_parameter_profiles (profile, name, value)
SELECT %(profile)s, pair.key, pair.value FROM jsonb_each(%(values)s::jsonb) AS pair
ON CONFLICT (profile, name) DO NOTHING;

-- name: list_profiles
SELECT DISTINCT profile AS name FROM application_parameter_profiles ORDER BY profile;

-- name: profile_rows
SELECT name, value FROM application_parameter_profiles WHERE profile = %(profile)s ORDER BY name;
