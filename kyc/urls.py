"""Where people sign up, in and out."""

from django.urls import path

from kyc import api, views

app_name = "kyc"

api_urlpatterns = [
    path("auth/register", api.Register.as_view()),
    path("auth/token", api.Token.as_view()),
    path("auth/token/refresh", api.Refresh.as_view()),
    path("auth/logout", api.Logout.as_view()),
    path("auth/otp/status", api.OtpStatus.as_view()),
    path("auth/otp/enrol", api.OtpEnrol.as_view()),
    path("auth/otp/confirm", api.OtpConfirm.as_view()),
    path("auth/otp/disable", api.OtpDisable.as_view()),
    path("auth/socket-ticket", api.SocketTicket.as_view()),
    path("me", api.Me.as_view()),
    path("time", api.Time.as_view()),
]

page_urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-in/code/", views.SignInCode.as_view(), name="sign-in-code"),
    path("sign-up/", views.SignUp.as_view(), name="sign-up"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("password-reset/", views.PasswordReset.as_view(), name="password-reset"),
    path("password-reset/sent/", views.PasswordResetSent.as_view(), name="password-reset-done"),
    path(
        "password-reset/<uidb64>/<token>/",
        views.PasswordResetConfirm.as_view(),
        name="password-reset-confirm",
    ),
    path("password-reset/saved/", views.PasswordResetSaved.as_view(), name="password-reset-complete"),
]
