//! The implementation of `Event`.
//!
//! The fields of a variant are written and read as a struct of their own, which is made beside: so the payload is what serde
//! makes of `{ field: value, … }`, of a tuple, of a single value, or of nothing, and the variant's name is not in it. Writing
//! borrows the fields.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Path, Result};

use crate::attributes::{OfKind, of_type, of_variant, tag_of};

/// A struct, or a variant of an enum.
struct Kind<'i> {
    /// `Self` or `Self::Variant`.
    path: TokenStream,
    /// What it is called.
    name: String,
    schema: u32,
    upcasts: Vec<(u32, &'i Path)>,
    fields: &'i Fields,
}

pub(crate) fn event(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(generic) = input.generics.params.first() {
        return Err(Error::new(generic.span(), "an event has no generic parameters: its name stands for one type"));
    }
    let mut of_struct = OfKind::default();
    let is_struct = matches!(input.data, Data::Struct(_));
    let said = of_type(&input.attrs, is_struct.then_some(&mut of_struct))?;
    let variants;
    let kinds = match &input.data {
        Data::Struct(data) => vec![kind(quote!(Self), &input.ident, &of_struct, &data.fields)?],
        Data::Enum(data) => {
            let read = |variant: &syn::Variant| of_variant(&variant.attrs);
            variants = data.variants.iter().map(read).collect::<Result<Vec<_>>>()?;
            let made = data.variants.iter().zip(&variants).map(|(variant, said)| {
                let ident = &variant.ident;
                kind(quote!(Self::#ident), ident, said, &variant.fields)
            });
            made.collect::<Result<Vec<_>>>()?
        }
        Data::Union(data) => return Err(Error::new(data.union_token.span(), "a union is no event")),
    };
    if kinds.is_empty() {
        return Err(Error::new(input.ident.span(), "an enum without variants has no events"));
    }
    let mut names = HashSet::new();
    if let Some(twice) = kinds.iter().find(|kind| !names.insert(&kind.name)) {
        return Err(Error::new(input.ident.span(), format!("two variants are called {:?}", twice.name)));
    }
    let codec = said.codec.map_or_else(|| quote!(::annals::store::codec::Json), |path| quote!(#path));
    implementation(&input.ident, &kinds, &codec)
}

fn kind<'i>(path: TokenStream, ident: &Ident, said: &'i OfKind, fields: &'i Fields) -> Result<Kind<'i>> {
    use syn::ext::IdentExt;
    let name = said.name.as_ref().map_or_else(|| ident.unraw().to_string(), syn::LitStr::value);
    let schema = said.schema()?;
    let mut seen = HashSet::new();
    let mut upcasts = Vec::new();
    for (number, read) in &said.upcasts {
        let older: u32 = number.base10_parse()?;
        if older == 0 || older >= schema {
            let message = format!("{older} is not an older schema: the present one is {schema}");
            return Err(Error::new(number.span(), message));
        }
        if !seen.insert(older) {
            return Err(Error::new(number.span(), format!("schema {older} is read twice")));
        }
        upcasts.push((older, read));
    }
    Ok(Kind { path, name, schema, upcasts, fields })
}

fn implementation(ident: &Ident, kinds: &[Kind<'_>], codec: &TokenStream) -> Result<TokenStream> {
    let (mut names, mut schemas, mut tags, mut encodes, mut decodes) = (vec![], vec![], vec![], vec![], vec![]);
    for kind in kinds {
        let Kind { path, name, schema, fields, .. } = kind;
        names.push(quote!(#path { .. } => const { ::annals::Name::from_static(#name) }));
        schemas.push(quote!(#path { .. } => #schema));
        tags.push(tags_of(path, fields)?);
        encodes.push(encode(kind, codec));
        decodes.push(decode(kind, codec));
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::annals::sourcing::Event for #ident {
            fn name(&self) -> ::annals::Name<'static> {
                match self { #(#names,)* }
            }

            fn schema(&self) -> u32 {
                match self { #(#schemas,)* }
            }

            fn tags(&self) -> ::std::vec::Vec<::std::borrow::Cow<'_, str>> {
                match self { #(#tags,)* }
            }

            fn encode(&self) -> ::std::result::Result<::annals::Payload<'_>, ::annals::store::BackendError> {
                match self { #(#encodes)* }
            }

            fn decode(
                recorded: ::annals::sourcing::Recorded<'_>,
            ) -> ::std::result::Result<::std::option::Option<Self>, ::annals::store::BackendError> {
                match (recorded.name, recorded.schema) {
                    #(#decodes)*
                    _ => ::std::result::Result::Ok(::std::option::Option::None),
                }
            }
        }
    })
}

/// Names to bind the fields to: their own, or numbers. And the pattern that binds them.
fn bound(path: &TokenStream, fields: &Fields) -> (Vec<Ident>, TokenStream) {
    let idents: Vec<_> = (0..fields.len()).map(|at| format_ident!("__field_{at}")).collect();
    let pattern = match fields {
        Fields::Named(fields) => {
            let names = fields.named.iter().map(|field| &field.ident);
            quote!(#path { #(#names: #idents),* })
        }
        Fields::Unnamed(_) => quote!(#path(#(#idents),*)),
        Fields::Unit => quote!(#path),
    };
    (idents, pattern)
}

fn tags_of(path: &TokenStream, fields: &Fields) -> Result<TokenStream> {
    let (idents, pattern) = bound(path, fields);
    let mut tags = Vec::new();
    for (field, ident) in fields.iter().zip(&idents) {
        if let Some(prefix) = tag_of(field)? {
            tags.push(quote!(::std::borrow::Cow::Owned(::std::format!(concat!(#prefix, ":{}"), #ident))));
        }
    }
    Ok(if tags.is_empty() {
        quote!(#path { .. } => ::std::vec::Vec::new())
    } else {
        quote! {
            #[allow(unused_variables, reason = "not every field is a tag")]
            #pattern => ::std::vec![#(#tags),*]
        }
    })
}

/// A struct of the fields, as serde sees it: `lifetime` when it borrows them.
fn shape(fields: &Fields, borrows: bool) -> TokenStream {
    let lifetime = borrows.then(|| quote!(<'__event>));
    let reference = borrows.then(|| quote!(&'__event));
    let kept = |field: &syn::Field| {
        // What serde is told of the field, it is told here, too.
        let attributes: Vec<_> = field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde")).collect();
        let (ty, name) = (&field.ty, field.ident.iter());
        quote!(#(#attributes)* #(#name:)* #reference #ty)
    };
    let each = fields.iter().map(kept);
    match fields {
        Fields::Named(_) => quote!(struct Shape #lifetime { #(#each),* }),
        Fields::Unnamed(_) => quote!(struct Shape #lifetime (#(#each),*);),
        Fields::Unit => quote!(
            struct Shape;
        ),
    }
}

fn construct(path: &TokenStream, fields: &Fields, values: &[Ident]) -> TokenStream {
    match fields {
        Fields::Named(fields) => {
            let names = fields.named.iter().map(|field| &field.ident);
            quote!(#path { #(#names: #values),* })
        }
        Fields::Unnamed(_) => quote!(#path(#(#values),*)),
        Fields::Unit => quote!(#path),
    }
}

fn encode(kind: &Kind<'_>, codec: &TokenStream) -> TokenStream {
    let Kind { path, fields, .. } = kind;
    if fields.is_empty() {
        return quote!(#path { .. } => ::std::result::Result::Ok(::annals::Payload::from("")),);
    }
    let (idents, pattern) = bound(path, fields);
    let (shape, value) = (shape(fields, true), construct(&quote!(Shape), fields, &idents));
    quote! {
        #pattern => {
            #[derive(::annals::sourcing::serde::Serialize)]
            #[serde(crate = "::annals::sourcing::serde")]
            #shape
            let payload = ::annals::store::codec::Codec::encode(&#codec, &#value)?;
            ::std::result::Result::Ok(::annals::Payload::from(payload))
        }
    }
}

fn decode(kind: &Kind<'_>, codec: &TokenStream) -> TokenStream {
    let Kind { path, name, schema, upcasts, fields } = kind;
    let older = upcasts.iter().map(|(older, read)| {
        quote!((#name, #older) => ::std::result::Result::Ok(::std::option::Option::Some(#read(recorded.payload)?)),)
    });
    let present = if fields.is_empty() {
        construct_empty(path, fields)
    } else {
        let (idents, pattern) = bound(&quote!(Shape), fields);
        let (shape, value) = (shape(fields, false), construct(path, fields, &idents));
        quote! {{
            #[derive(::annals::sourcing::serde::Deserialize)]
            #[serde(crate = "::annals::sourcing::serde")]
            #shape
            let #pattern = ::annals::store::codec::Codec::decode::<Shape>(&#codec, recorded.payload)?;
            #value
        }}
    };
    quote! {
        #(#older)*
        (#name, #schema) => ::std::result::Result::Ok(::std::option::Option::Some(#present)),
        (#name, other) => ::std::result::Result::Err(::std::format!("its schema is {other}, which is not known").into()),
    }
}

fn construct_empty(path: &TokenStream, fields: &Fields) -> TokenStream {
    match fields {
        Fields::Named(_) => quote!(#path {}),
        Fields::Unnamed(_) => quote!(#path()),
        Fields::Unit => quote!(#path),
    }
}
