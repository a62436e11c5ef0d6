//! What the provider tells people, in three languages. No client may match on any of it.

use crate::domain::outcome::words;

words!(
    /// The language of messages.
    Language {
        /// English.
        En = "en",
        /// German.
        De = "de",
        /// Turkish.
        Tr = "tr",
    }
);

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    CallStarted,
    NumberInvalid,
    AssistantUnknown,
    AssistantInactive,
    BalanceEmpty,
    CapReached,
    CallUnknown,
    RouteUnknown,
    FieldsInvalid,
    TooManyRequests,
    KeyInvalid,
    KeyMissing,
    ServerError,
    CannotCancel,
}

impl Message {
    /// The text. The English ones that are documented are word for word (Famulor's documentation, read 2026-11-21).
    pub(super) const fn text(self, language: Language) -> &'static str {
        let [english, german, turkish] = self.texts();
        match language {
            Language::En => english,
            Language::De => german,
            Language::Tr => turkish,
        }
    }

    const fn texts(self) -> [&'static str; 3] {
        match self {
            Self::CallStarted => ["Call initiated successfully", "Anruf wurde gestartet", "Arama başarıyla başlatıldı"],
            Self::NumberInvalid => [
                "Invalid phone number format. Please use E.164 format (e.g. +1234567890)",
                "Rufnummer muss im Format E.164 angegeben werden",
                "Geçersiz telefon numarası biçimi, lütfen E.164 kullanın",
            ],
            Self::AssistantUnknown => [
                "Assistant not found or does not belong to the authenticated user",
                "Assistent nicht gefunden",
                "Asistan bulunamadı",
            ],
            Self::AssistantInactive => ["Assistant is not active", "Assistent ist nicht aktiv", "Asistan etkin değil"],
            Self::BalanceEmpty => [
                "Insufficient balance to make call. Please top up your account.",
                "Guthaben reicht nicht aus, bitte aufladen",
                "Arama için bakiye yetersiz, lütfen hesabınıza yükleme yapın",
            ],
            Self::CapReached => [
                "You have reached the maximum number of calls allowed per day.",
                "Die tägliche Höchstzahl von Anrufen ist erreicht",
                "Günlük arama sınırına ulaşıldı",
            ],
            Self::CallUnknown => ["Call not found", "Anruf nicht gefunden", "Arama bulunamadı"],
            Self::RouteUnknown => {
                ["The route could not be found.", "Die Route wurde nicht gefunden.", "Yol bulunamadı."]
            }
            Self::FieldsInvalid => {
                ["The given data was invalid.", "Die Angaben sind ungültig.", "Verilen bilgiler geçersiz."]
            }
            Self::TooManyRequests => [
                "Too many requests. Please try again later.",
                "Zu viele Anfragen, bitte später erneut versuchen",
                "Çok fazla istek, lütfen daha sonra deneyin",
            ],
            Self::KeyInvalid => [
                "The provided API key is invalid or expired",
                "Der API-Schlüssel ist ungültig oder abgelaufen",
                "API anahtarı geçersiz veya süresi dolmuş",
            ],
            Self::KeyMissing => {
                ["Authorization header is required", "Der Header Authorization fehlt", "Authorization başlığı gerekli"]
            }
            Self::ServerError => ["Server Error", "Serverfehler", "Sunucu hatası"],
            Self::CannotCancel => {
                ["The run cannot be canceled", "Der Lauf kann nicht abgebrochen werden", "Çalıştırma iptal edilemez"]
            }
        }
    }
}
