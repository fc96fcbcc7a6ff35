//! Campaigns: one survey of one organization, from its draft to what it may tell; its invitations and its responses.
//!
//! A campaign takes responses only while it is open. When it closes, its responses are sealed anew under other ids, in an
//! order that chance chose, and its unused invitations are removed, so that neither order nor leftovers tell who answered
//! what; [`super::traces`] wipes what was written before from the database's files.

use super::safe::Safe;
use super::{Result, check_name, id_or_none, random_id, shuffle, unknown};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ombud_ledger::{RecordId, Tenant};
use ombud_store::guest::{Row, Transaction, Value};
use ombud_store::{Error, Store, cells};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// Responses of one campaign; far above the largest employers' answers, and what fits a machine's memory.
pub const RESPONSES_MAX: i64 = 500_000;
/// Invitations made at once.
pub const INVITATIONS_MAX: usize = 10_000;
/// Rows in one statement; PostgreSQL takes 65,535 cells.
const ROWS_AT_ONCE: usize = 200;
/// What an invitation begins with.
const TOKEN_START: &str = "hseg_";

/// Where a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Draft,
    Open,
    Closed,
    Processed,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    pub id: RecordId,
    pub organization: RecordId,
    pub name: String,
    pub state: State,
    pub wrapped_key: Vec<u8>,
    pub invited: i64,
    pub responded: i64,
    pub created_us: i64,
    pub opened_us: Option<i64>,
    pub closed_us: Option<i64>,
    pub processed_us: Option<i64>,
    pub job: Option<RecordId>,
}

/// A sealed response.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    pub id: RecordId,
    pub bytes: Vec<u8>,
}

/// Responses that were gathered elsewhere, to become a campaign. Their order is to be one that chance chose.
#[derive(Debug)]
pub struct File<'a> {
    pub id: RecordId,
    pub organization: RecordId,
    pub name: &'a str,
    pub wrapped_key: Vec<u8>,
    pub sealed: &'a [Sealed],
}

/// Adds a campaign as a draft.
pub async fn add(
    store: &Store,
    tenant: &Tenant,
    organization: RecordId,
    name: &str,
    wrapped_key: Vec<u8>,
    id: RecordId,
    now_us: i64,
) -> Result<Campaign> {
    check_name("name", name)?;
    let sql = "insert into hseg_campaigns (tenant, id, organization, name, state, wrapped_key, invited, responded, created_us) \
        values ($1, $2, $3, $4, 'draft', $5, 0, 0, $6)";
    let values = cells![tenant, id, organization, name, wrapped_key, now_us];
    store.execute(sql, values).await?;
    get(store, tenant, id).await
}

/// A campaign by its id.
pub async fn get(store: &Store, tenant: &Tenant, id: RecordId) -> Result<Campaign> {
    let sql = "select * from hseg_campaigns where tenant = $1 and id = $2";
    let row = store.row(sql, cells![tenant, id]).await?;
    read(&row.ok_or_else(|| unknown("campaign", id))?)
}

/// The campaigns of an organization, newest first.
pub async fn of(store: &Store, tenant: &Tenant, organization: RecordId) -> Result<Vec<Campaign>> {
    let sql = "select * from hseg_campaigns where tenant = $1 and organization = $2 order by created_us desc, id";
    let rows = store.rows(sql, cells![tenant, organization]).await?;
    rows.iter().map(read).collect()
}

/// How many campaigns are in each state.
pub async fn counts(store: &Store, tenant: &Tenant) -> Result<Vec<(State, i64)>> {
    let sql = "select state, count(*) as number from hseg_campaigns where tenant = $1 group by state order by state";
    let rows = store.rows(sql, cells![tenant]).await?;
    rows.iter()
        .map(|row| Ok((row.parsed("state")?, row.whole("number")?)))
        .collect()
}

/// Lets a draft take responses.
pub async fn open(store: &Store, tenant: &Tenant, id: RecordId, now_us: i64) -> Result<Campaign> {
    let sql = "update hseg_campaigns set state = 'open', opened_us = $3 where tenant = $1 and id = $2 and state = 'draft'";
    let changed = store.execute(sql, cells![tenant, id, now_us]).await?;
    let campaign = get(store, tenant, id).await?;
    if changed == 0 {
        return Err(not_so(&campaign, "opened"));
    }
    Ok(campaign)
}

/// Ends an open campaign, whose safe it is.
pub async fn close(
    store: &Store,
    tenant: &Tenant,
    id: RecordId,
    safe: &Safe,
    now_us: i64,
) -> Result<Campaign> {
    let mut transaction = store.begin().await?;
    let sql = "update hseg_campaigns set state = 'closed', closed_us = $3 where tenant = $1 and id = $2 and state = 'open'";
    if transaction.execute(sql, cells![tenant, id, now_us]).await? == 0 {
        drop(transaction);
        return Err(not_so(&get(store, tenant, id).await?, "closed"));
    }
    let rows = transaction.rows(RESPONSES, cells![tenant, id]).await?;
    let mut sealed = Vec::with_capacity(rows.len());
    for row in &rows {
        let before = read_sealed(row)?;
        let clear = safe.unseal(before.id, &before.bytes);
        let clear = clear.map_err(|_| Error::Unreadable { what: "sealed" })?;
        sealed.push(seal(safe, &clear)?);
    }
    shuffle(&mut sealed)?;
    let sql = "delete from hseg_responses where tenant = $1 and campaign = $2";
    transaction.execute(sql, cells![tenant, id]).await?;
    insert(&mut transaction, tenant, id, &sealed).await?;
    let sql = "delete from hseg_tokens where tenant = $1 and campaign = $2";
    transaction.execute(sql, cells![tenant, id]).await?;
    transaction.commit().await?;
    get(store, tenant, id).await
}

/// Notes the job that works on a closed campaign. A job that ended otherwise than well is replaced.
pub async fn note_job(store: &Store, tenant: &Tenant, id: RecordId, job: RecordId) -> Result<()> {
    let sql =
        "update hseg_campaigns set job = $3 where tenant = $1 and id = $2 and state = 'closed'";
    store.execute(sql, cells![tenant, id, job]).await.map(drop)
}

/// Says that a campaign was processed; within the transaction that keeps what it may tell.
pub async fn processed(
    transaction: &mut Transaction,
    tenant: &Tenant,
    id: RecordId,
    now_us: i64,
) -> Result<bool> {
    let sql = "update hseg_campaigns set state = 'processed', processed_us = $3 \
        where tenant = $1 and id = $2 and state = 'closed'";
    Ok(transaction.execute(sql, cells![tenant, id, now_us]).await? == 1)
}

/// Makes invitations to an open or drafted campaign. Their texts are told once, in an order that chance chose.
pub async fn invite(
    store: &Store,
    tenant: &Tenant,
    campaign: &Campaign,
    number: usize,
) -> Result<Vec<Zeroizing<String>>> {
    if !matches!(campaign.state, State::Draft | State::Open) {
        return Err(not_so(campaign, "joined"));
    }
    let mut tokens = Vec::with_capacity(number);
    for _ in 0..number {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut())?;
        let text = format!("{TOKEN_START}{}", URL_SAFE_NO_PAD.encode(random.as_ref()));
        tokens.push(Zeroizing::new(text));
    }
    // Stored by hash, told by chance: the order of rows and of links have nothing to do with each other.
    let mut hashes: Vec<_> = tokens.iter().map(|token| hash(token)).collect();
    hashes.sort_unstable();
    let mut transaction = store.begin().await?;
    let sql = "insert into hseg_tokens (tenant, campaign, hash) values ($1, $2, $3)";
    for hash in hashes {
        let values = cells![tenant, campaign.id, hash];
        transaction.execute(sql, values).await?;
    }
    let sql = "update hseg_campaigns set invited = invited + $3 where tenant = $1 and id = $2";
    transaction
        .execute(sql, cells![tenant, campaign.id, number as i64])
        .await?;
    transaction.commit().await?;
    Ok(tokens)
}

/// The open campaign that an unused invitation is for, and whose data it is.
pub async fn invited(store: &Store, token: &str) -> Result<Option<(Tenant, Campaign)>> {
    if !token.starts_with(TOKEN_START) || token.len() > 2 * TOKEN_START.len() + 64 {
        return Ok(None);
    }
    let sql = "select c.* from hseg_tokens t join hseg_campaigns c on c.tenant = t.tenant and c.id = t.campaign \
        where t.hash = $1 and c.state = 'open'";
    let row = store.row(sql, cells![hash(token)]).await?;
    row.map(|row| Ok((row.parsed("tenant")?, read(&row)?)))
        .transpose()
}

/// Takes in a response and removes its invitation, both or neither. Whether the invitation was there to be used.
pub async fn respond(
    store: &Store,
    tenant: &Tenant,
    campaign: RecordId,
    token: &str,
    sealed: Sealed,
) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let sql = "delete from hseg_tokens where tenant = $1 and campaign = $2 and hash = $3";
    let used = transaction
        .execute(sql, cells![tenant, campaign, hash(token)])
        .await?;
    if used == 0 || !take(&mut transaction, tenant, campaign, &[sealed]).await? {
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

/// Adds a campaign of a file's responses, closed: all of it or nothing. Whether the organization still has as many files as
/// the caller saw; with another one it has to be looked at anew what is new in this.
pub async fn add_file(
    store: &Store,
    tenant: &Tenant,
    file: File<'_>,
    seen: usize,
    now_us: i64,
) -> Result<bool> {
    check_name("name", file.name)?;
    let responded = file.sealed.len() as i64;
    if responded > RESPONSES_MAX {
        return Err(Error::TooMany {
            what: "responses",
            count_max: RESPONSES_MAX as usize,
        });
    }
    let mut transaction = store.begin().await?;
    // Whoever changes a row holds it until the end: of two files at once, one waits here and counts the other.
    let sql = "update hseg_organizations set name = name where tenant = $1 and id = $2";
    transaction
        .execute(sql, cells![tenant, file.organization])
        .await?;
    let sql = "select count(*) as number from hseg_campaigns where tenant = $1 and organization = $2 and invited = 0";
    let counted = transaction
        .row(sql, cells![tenant, file.organization])
        .await?;
    let counted = counted.map_or(Ok(0), |row| row.whole("number"))?;
    if counted != seen as i64 {
        return Ok(false);
    }
    let sql = "insert into hseg_campaigns \
        (tenant, id, organization, name, state, wrapped_key, invited, responded, created_us, opened_us, closed_us) \
        values ($1, $2, $3, $4, 'closed', $5, 0, $6, $7, $7, $7)";
    let values = cells![
        tenant,
        file.id,
        file.organization,
        file.name,
        file.wrapped_key,
        responded,
        now_us
    ];
    transaction.execute(sql, values).await?;
    insert(&mut transaction, tenant, file.id, file.sealed).await?;
    transaction.commit().await?;
    Ok(true)
}

/// A page of a campaign's responses, by id.
pub async fn responses(
    store: &Store,
    tenant: &Tenant,
    campaign: RecordId,
    after: Option<RecordId>,
    limit: usize,
) -> Result<Vec<Sealed>> {
    let sql = "select id, sealed from hseg_responses where tenant = $1 and campaign = $2 and id > $3 order by id limit $4";
    let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    let values = cells![tenant, campaign, after, limit as i64];
    let rows = store.rows(sql, values).await?;
    rows.iter().map(read_sealed).collect()
}

impl Campaign {
    /// Opens its safe.
    pub fn safe(
        &self,
        ledger: &ombud_ledger::Ledger,
        tenant: &Tenant,
    ) -> std::result::Result<Safe, ombud_ledger::Error> {
        let master = ledger.master()?;
        Safe::open(master.as_ref(), tenant, self.id, &self.wrapped_key)
    }
}

/// Seals a response under a random id.
pub fn seal(safe: &Safe, clear: &[u8]) -> Result<Sealed> {
    let id = random_id()?;
    let bytes = safe.seal(id, clear)?;
    Ok(Sealed { id, bytes })
}

/// Why a campaign cannot become what was asked.
pub fn not_so(campaign: &Campaign, wanted: &'static str) -> Error {
    Error::Standing {
        what: "campaign",
        id: campaign.id,
        state: campaign.state.as_str(),
        wanted,
    }
}

const RESPONSES: &str =
    "select id, sealed from hseg_responses where tenant = $1 and campaign = $2 order by id";

async fn take(
    transaction: &mut Transaction,
    tenant: &Tenant,
    campaign: RecordId,
    sealed: &[Sealed],
) -> Result<bool> {
    let sql = "update hseg_campaigns set responded = responded + $3 \
        where tenant = $1 and id = $2 and state = 'open' and responded + $3 <= $4";
    let values = cells![tenant, campaign, sealed.len() as i64, RESPONSES_MAX];
    if transaction.execute(sql, values).await? == 0 {
        return Ok(false);
    }
    insert(transaction, tenant, campaign, sealed).await?;
    Ok(true)
}

async fn insert(
    transaction: &mut Transaction,
    tenant: &Tenant,
    campaign: RecordId,
    sealed: &[Sealed],
) -> Result<()> {
    let whole = sealed.len() / ROWS_AT_ONCE * ROWS_AT_ONCE;
    let (many, rest) = sealed.split_at(whole);
    for (sql, rows) in many
        .chunks(ROWS_AT_ONCE)
        .map(|rows| (INSERT_MANY.as_str(), rows))
        .chain(rest.chunks(1).map(|row| (INSERT_ONE.as_str(), row)))
    {
        let mut values = cells![tenant, campaign];
        for row in rows {
            values.push(Value::from(row.id));
            values.push(Value::from(row.bytes.clone()));
        }
        transaction.execute(sql, values).await?;
    }
    Ok(())
}

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert_of(1));
static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insert_of(ROWS_AT_ONCE));

fn insert_of(rows: usize) -> String {
    let row = |at: usize| format!("($1, $2, ${}, ${})", 2 * at + 3, 2 * at + 4);
    let rows: Vec<String> = (0..rows).map(row).collect();
    let rows = rows.join(", ");
    format!("insert into hseg_responses (tenant, campaign, id, sealed) values {rows}")
}

fn hash(token: &str) -> Vec<u8> {
    ombud_store::secret::hash(token).as_bytes().to_vec()
}

fn read(row: &Row) -> Result<Campaign> {
    Ok(Campaign {
        id: row.id("id")?,
        organization: row.id("organization")?,
        name: row.text("name")?,
        state: row.parsed("state")?,
        wrapped_key: row
            .bytes_or_none("wrapped_key", "wrapped_key")?
            .unwrap_or_default(),
        invited: row.whole("invited")?,
        responded: row.whole("responded")?,
        created_us: row.whole("created_us")?,
        opened_us: row.time_or_none("opened_us")?,
        closed_us: row.time_or_none("closed_us")?,
        processed_us: row.time_or_none("processed_us")?,
        job: id_or_none(row, "job")?,
    })
}

fn read_sealed(row: &Row) -> Result<Sealed> {
    Ok(Sealed {
        id: row.id("id")?,
        bytes: row.bytes_or_none("sealed", "sealed")?.unwrap_or_default(),
    })
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Open => "open",
            State::Closed => "closed",
            State::Processed => "processed",
        }
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let all = [State::Draft, State::Open, State::Closed, State::Processed];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or(())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
