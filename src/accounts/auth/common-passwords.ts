/** Passwords that attackers try first. Those shorter than the minimum need no entry. Compared in lower case. */

const COMMON = new Set(
  `00000000 000000000 0000000000 0987654321 11111111 111111111 1111111111 1111aaaa 11223344 1122334455
112233445566 12121212 123123123 123321123 12341234 123454321 12345678 123456789 1234567890 12345678910
12345qwert 1234qwer 123654789 123qwe123 123qweasd 123qweasdzxc 12qwaszx 147258369 147852369 159753456 1a2b3c4d
1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc 1qazxsw2 22222222 33333333 44444444 55555555 66666666
741852963 77777777 789456123 87654321 88888888 963852741 987654321 99999999 99999999a a1234567 a12345678
a123456789 a1b2c3d4 aa123456 aa12345678 aaaaaaaa abc12345 abc123abc abcabc123 abcd1234 abcdefg1 abcdefgh
access123 access14 admin123 admin1234 admin12345 admin@123 admin@1234 administrador administrator
administrator1 alexander alexandra america1 andrew123 android1 anthony1 aquarius arsenal1 asd123asd asdasdasd
asdf1234 asdfasdf asdfghjk asdfghjkl asdqwe123 ashley123 asshole1 australia autumn2024 autumn2025 autumn2026
babyboy1 babygirl babygirl1 barcelona baseball baseball1 basketball batman123 beautiful beautiful1 benjamin
berlin123 blessed1 blink182 bmw12345 brazil123 broncos1 bulldogs bullshit butterfly butterfly1 canada123
capricorn changeit changeit1 changeme changeme1 changeme123 charlie1 chelsea1 cheyenne china123 chocolate
chocolate1 christian christina cisco123 cocacola computer computer1 contrasena contrasenya cookie123
correcthorsebatterystaple corvette counterstrike cowboys1 daniel123 danielle database database1 debian123
december1 default1 defaultpassword demo1234 demodemo docker123 dolphin1 dolphins dragon123 dropbox1 eagles123
elizabeth england1 example1 facebook facebook1 february1 ferrari1 fine-tune-lab finetune finetune123
finetunelab firewall football football1 fortnite fortnite1 france123 freedom1 friday123 fuckyou1 fuckyou123
fuckyou2 garfield gators123 george123 germany1 ginger123 godisgood google123 gorgeous grafana1 guest123
guestguest harley123 harleydavidson hello123 hello1234 hellohello honda123 hotmail1 hottie123 hunter123
hunter22 iforgot1 ihateyou iloveme1 iloveu12 iloveyou iloveyou1 iloveyou2 india123 india@123 instagram
internet iphone123 january1 jenkins1 jennifer jessica1 jesus123 jesus777 jesuschrist jonathan jordan123
jordan23 joshua123 justin123 kawasaki killer123 kubernetes lakers24 letmein! letmein1 letmein123 linkedin
linkedin1 linux123 liverpool liverpool1 london123 lovelove loveme123 lovers123 loveyou1 manchester marlboro
marlboro1 master123 matthew1 maverick mercedes metallica mexico123 michael1 michelle microsoft midnight
minecraft minecraft1 monday123 monkey123 motdepasse motherfucker mustang1 mustang123 mylove123 myspace1
mysql123 network1 nicholas nintendo nintendo64 nirvana1 nissan123 nopass123 nopassword november1 opensesame
oracle123 outlook1 p455w0rd p4ssword p@ssw0rd p@ssw0rd1 p@ssw0rd123 p@ssword p@ssword1 pa$$word pa55w0rd
pa55word packers1 panthers paris123 parola12 pass1234 pass12345 pass123456 pass@123 pass@1234 passpass
passport passport1 passw0rd passw0rd1 passw0rd123 password password! password. password00 password01 password1
password11 password12 password123 password1234 password2 password2020 password2021 password2022 password2023
password2024 password2025 password2026 password22 password3 password5 password69 password7 password9
password99 passwort passwort1 pepper123 playstation pokemon1 pokemon123 porsche1 porsche911 postgres postgres1
princess princess1 pussy123 q1w2e3r4 q1w2e3r4t5 qazwsx123 qazwsxedc qwe123qwe qweasd123 qweasdzxc qweqweqwe
qwer1234 qwerty12 qwerty123 qwerty1234 qwerty12345 qwerty@123 qwertyui qwertyuiop qwertyuiop123 rangers1
raspberry redsox04 robert123 roblox123 rockstar1 root1234 rootroot russia123 sagittarius samantha sample123
samsung1 samsung123 scorpio1 scorpion secret123 secret1234 security security1 senha123 september september1
server123 service1 sexybitch shadow123 slipknot slipknot1 snowball soccer123 spiderman spiderman1 spring2024
spring2025 spring2026 starwars starwars1 steelers stephanie summer2020 summer2021 summer2022 summer2023
summer2024 summer2025 summer2026 sunshine sunshine1 superman superman1 supersecret support1 suzuki123
sweetheart temp1234 temporary temppass test1234 test12345 testing1 testing123 testtest thomas123 tigger123
toor1234 toyota123 trinity1 trustno1 twitter1 ubuntu123 user1234 useruser veronica victoria victoria1 warcraft
welcome1 welcome12 welcome123 welcome2024 welcome2025 welcome2026 welcome@123 whatever william1 windows1
windows10 winter2020 winter2021 winter2022 winter2023 winter2024 winter2025 winter2026 yahoo123 yamaha123
yankees1 youtube1 zaq12wsx zaq1zaq1 zxcvbnm, zxcvbnm1 zxcvbnm123 zxczxczxc
`.split(/\s+/),
);

/** True for a common password, also with `!`, `.` or digits appended, and for 1 to 3 repeated characters. */
export function isCommonPassword(password: string): boolean {
  const text = password.toLowerCase();
  if (COMMON.has(text) || /^(.{1,3})\1+$/.test(text)) return true;
  const stem = text.replace(/(?<![\d!.?@#*_-])[\d!.?@#*_-]+$/, "");
  return stem !== text && (COMMON.has(stem) || COMMON.has(`${stem}1`) || COMMON.has(`${stem}123`));
}
