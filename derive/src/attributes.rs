//! What `#[event(…)]` says.

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Field, Ident, LitInt, LitStr, Path, Result, Token};

/// Of the whole type.
#[derive(Default)]
pub(crate) struct OfType {
    /// How payloads are written; without this, `annals::store::codec::Json`.
    pub(crate) codec: Option<Path>,
}

/// Of a variant, or of a struct.
#[derive(Default)]
pub(crate) struct OfKind {
    /// What the event is called; without this, what the variant is.
    pub(crate) name: Option<LitStr>,
    /// The shape it has now; without this, 1.
    pub(crate) schema: Option<LitInt>,
    /// Older shapes, and who reads them.
    pub(crate) upcasts: Vec<(LitInt, Path)>,
}

/// Reads what is said of a type; `kind` gets what is said of its only kind, for structs.
pub(crate) fn of_type(attributes: &[Attribute], mut kind: Option<&mut OfKind>) -> Result<OfType> {
    let mut found = OfType::default();
    for attribute in ours(attributes) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("codec") {
                return once(&mut found.codec, meta.value()?.parse()?, &meta.path);
            }
            match &mut kind {
                Some(kind) => kind.take(&meta),
                None => Err(meta.error("expected `codec`; `name`, `schema` and `upcast` are of variants")),
            }
        })?;
    }
    Ok(found)
}

/// Reads what is said of a variant.
pub(crate) fn of_variant(attributes: &[Attribute]) -> Result<OfKind> {
    let mut found = OfKind::default();
    for attribute in ours(attributes) {
        attribute.parse_nested_meta(|meta| found.take(&meta))?;
    }
    Ok(found)
}

/// What a field's tag begins with, when it is one: `#[event(tag)]`, `#[event(tag = "prefix")]`.
pub(crate) fn tag_of(field: &Field) -> Result<Option<String>> {
    let mut found = None;
    for attribute in ours(&field.attrs) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("tag") {
                return Err(meta.error("expected `tag`"));
            }
            let prefix = if meta.input.peek(Token![=]) {
                meta.value()?.parse::<LitStr>()?.value()
            } else {
                name_of(field).ok_or_else(|| meta.error("a field without a name needs `tag = \"…\"`"))?
            };
            once(&mut found, prefix, &meta.path)
        })?;
    }
    Ok(found)
}

fn name_of(field: &Field) -> Option<String> {
    use syn::ext::IdentExt;
    field.ident.as_ref().map(|ident| ident.unraw().to_string())
}

impl OfKind {
    fn take(&mut self, meta: &syn::meta::ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            return once(&mut self.name, meta.value()?.parse()?, &meta.path);
        }
        if meta.path.is_ident("schema") {
            let schema: LitInt = meta.value()?.parse()?;
            if schema.base10_parse::<u32>()? == 0 {
                return Err(Error::new(schema.span(), "schemas begin at 1"));
            }
            return once(&mut self.schema, schema, &meta.path);
        }
        if meta.path.is_ident("upcast") {
            let inside;
            syn::parenthesized!(inside in meta.input);
            let upcasts = Punctuated::<Upcast, Token![,]>::parse_terminated(&inside)?;
            self.upcasts.extend(upcasts.into_iter().map(|upcast| (upcast.schema, upcast.read)));
            return Ok(());
        }
        Err(meta.error("expected `name`, `schema` or `upcast`"))
    }

    /// The shape it has now.
    pub(crate) fn schema(&self) -> Result<u32> {
        self.schema.as_ref().map_or(Ok(1), LitInt::base10_parse)
    }
}

/// `1 = path::to::function`
struct Upcast {
    schema: LitInt,
    read: Path,
}

impl syn::parse::Parse for Upcast {
    fn parse(input: syn::parse::ParseStream<'_>) -> Result<Self> {
        let schema = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self { schema, read: input.parse()? })
    }
}

fn ours(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("event"))
}

fn once<T>(place: &mut Option<T>, value: T, said: &Path) -> Result<()> {
    if place.replace(value).is_some() {
        let what = said.get_ident().map(Ident::to_string).unwrap_or_default();
        return Err(Error::new(said.span(), format!("`{what}` is said twice")));
    }
    Ok(())
}
